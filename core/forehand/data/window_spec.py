"""Window specification: the frames that a policy takes as input and as targets, as offsets for each key. No torch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from forehand.contracts.contract import Contract
from forehand.errors import ConfigurationError, nearest
from forehand.utils.images import METHODS, Size
from forehand.utils.numbers import count

IMAGES, FUTURE, SENSORS = "images.", "future.", "sensors."
STATE = "state"
ACTIONS = ("action", "actions")
KEYS = (f"{IMAGES}<camera>", f"{FUTURE}<camera>", f"{SENSORS}<name>", STATE, *ACTIONS)

MOST_TIMESTEPS = 4096
"""The longest history and the longest chunk of actions, in control steps."""

_OPTIONS = ("history", "chunk", "horizon", "horizons", "image_size", "resize", "cameras", "sensors", "targets", "seen")


def camera_of(key: str) -> str | None:
    """The camera of ``images.<camera>`` or ``future.<camera>``; None for any other key."""
    return next((key.removeprefix(p) for p in (IMAGES, FUTURE) if key.startswith(p) and key != p), None)


def sensor_of(key: str) -> str | None:
    """The sensor of ``sensors.<name>``; None for any other key."""
    return key.removeprefix(SENSORS) if key.startswith(SENSORS) and key != SENSORS else None


def mask_of(key: str) -> str:
    """The key of the mask that says which values of ``key`` exist; all ``future.<camera>`` share one."""
    return "future_valid" if key.startswith(FUTURE) else f"{key}_valid"


def known_of(key: str) -> str:
    """The key of the mask that says which numbers of the actions of ``key`` are learned from."""
    return f"{key}_known"


@dataclass(frozen=True, kw_only=True)
class WindowSpec:
    """Frames of a window by key: offsets in control steps, relative to the window's anchor frame.

    observation: what a policy may be given, at offsets of at most 0: ``images.<camera>``, ``sensors.<name>`` of a sensor
    beside cameras, ``state``, and ``action`` (of earlier steps, below 0); the instruction always comes with it. target:
    what only a loss may see, at any offsets: the same keys, and ``future.<camera>``. ``action`` may be called
    ``actions``. For example ::

        WindowSpec(
            observation={"images.static": (-1, 0), "state": (-1, 0)},
            target={"action": range(-1, 15), "images.static": (3,)},
            image_size=96,
        )

    timesteps: None, or T: the observation holds the frames 0 … T-1, and every one of these timesteps has targets of its
    own, at offsets from it; so a causal model learns every length of history from one window (:meth:`causal`). Images and
    sensors may be those of some of these timesteps, the same for all.
    image_size: (height, width), or the side of a square; None: each camera's own size. resize: how images are brought to
    it (:func:`forehand.utils.images.resize`).

    :class:`forehand.data.windows.WindowDataset` gives the shapes. Raises :class:`ConfigurationError` naming the key and
    the offset that cannot be.
    """

    observation: Mapping[str, Sequence[int]]
    target: Mapping[str, Sequence[int]] = field(default_factory=dict)
    timesteps: int | None = None
    image_size: int | Size | None = None
    resize: str = "area"

    def __post_init__(self) -> None:
        timesteps: Any = {"window: timesteps": self.timesteps}
        count(most=MOST_TIMESTEPS, **timesteps)
        for side in ("observation", "target"):
            for key in getattr(self, side):
                _require_key(side, key)
            checked = {key: _offsets(f"{side}.{key}", given) for key, given in getattr(self, side).items()}
            object.__setattr__(self, side, checked)
        for key, offsets in self.observation.items():
            self._require_observable(key, offsets)
        futures = [(key, offsets) for key, offsets in self.target.items() if key.startswith(FUTURE)]
        for key, offsets in futures[1:]:
            if offsets != futures[0][1]:
                raise ConfigurationError(
                    f"window: target.{key} has the offsets {offsets} and target.{futures[0][0]} {futures[0][1]}, but "
                    f"these cameras share one mask. Give both the same, or call them {IMAGES}<camera>."
                )
        if self.image_size is not None:
            sides = (self.image_size,) if isinstance(self.image_size, int) else tuple(self.image_size)
            if len(sides) not in (1, 2) or min(sides) < 1:
                raise ConfigurationError(f"window: image_size is one side or (height, width), not {self.image_size}.")
            object.__setattr__(self, "image_size", sides[0] if len(sides) == 1 else sides)
        if self.resize not in METHODS:
            raise ConfigurationError(f"window: unknown resize {self.resize!r}. {nearest(self.resize, METHODS)}")

    def _require_observable(self, key: str, offsets: Sequence[int]) -> None:
        if self.timesteps is not None:
            every, held = tuple(range(self.timesteps)), tuple(offsets)
            some = key != STATE and held[:1] == (0,) and held == tuple(sorted(set(held).intersection(every)))
            if key in ACTIONS or not (held == every or some):
                raise ConfigurationError(
                    f"window: of {self.timesteps} timesteps, observation.{key} has the offsets {offsets}; states have 0 "
                    f"to {self.timesteps - 1} there, images these or some of them from 0 on, and actions are targets. "
                    f"Correct it, or leave timesteps out."
                )
            return
        last = -1 if key in ACTIONS else 0
        if key.startswith(FUTURE) or max(offsets) > last:
            raise ConfigurationError(
                f"window: observation.{key} has the offsets {offsets}, but at run time a policy has {key} up to {last} "
                f"only. What comes later is a target."
            )

    @classmethod
    def causal(
        cls,
        *,
        history: int,
        chunk: int,
        horizons: int | Sequence[int] | None = None,
        cameras: Iterable[str],
        sensors: Iterable[str] = (),
        targets: Mapping[str, Sequence[int]] | None = None,
        image_size: int | Size | None = None,
        resize: str = "area",
        seen: Sequence[int] | None = None,
    ) -> WindowSpec:
        """Windows of a causal model: ``history`` timesteps, each with targets of its own.

        history: T, timesteps of images, sensors and states. chunk: actions from each timestep on. horizons: how many
        steps ahead the images are that are targets of each timestep; an integer is one horizon, None or () is none.
        targets: further targets of each timestep, key → offsets. seen: the timesteps whose images and sensors are held,
        by default all.
        """
        ahead = () if horizons is None else (horizons,) if isinstance(horizons, int) else tuple(horizons)
        count(most=MOST_TIMESTEPS, **{"window: history": history, "window: chunk": chunk})
        for horizon in ahead:
            count(least=0, **{"window: horizon": horizon})
        if len(set(ahead)) < len(ahead):
            raise ConfigurationError(f"windows need different horizons, not {ahead}.")
        cameras = tuple(cameras)
        return cls(
            observation={
                **dict.fromkeys(
                    (*(IMAGES + c for c in cameras), *(SENSORS + s for s in sensors)), seen or range(history)
                ),
                STATE: range(history),
            },
            target={
                "actions": range(chunk),
                **({FUTURE + c: ahead for c in cameras} if ahead else {}),
                **(targets or {}),
            },
            timesteps=history,
            image_size=image_size,
            resize=resize,
        )

    @property
    def cameras(self) -> tuple[str, ...]:
        """The cameras of all keys."""
        named = (camera_of(key) for key in (*self.observation, *self.target))
        return tuple(dict.fromkeys(camera for camera in named if camera is not None))

    @property
    def sensors(self) -> tuple[str, ...]:
        """The sensors of all keys."""
        named = (sensor_of(key) for key in (*self.observation, *self.target))
        return tuple(dict.fromkeys(sensor for sensor in named if sensor is not None))

    @property
    def span(self) -> tuple[int, int]:
        """First and last offset of the window's timesteps; without these, of its actions, or else of its observation."""
        if self.timesteps is not None:
            return 0, self.timesteps - 1
        acts = [o for side in (self.observation, self.target) for k in ACTIONS for o in side.get(k, ())]
        reached = acts or [0, *(o for offsets in self.observation.values() for o in offsets)]
        return min(reached), max(reached)

    @property
    def input_reach(self) -> tuple[int, int]:
        """First and last offset of the observation, and of the anchor."""
        offsets = [0, *(o for its in self.observation.values() for o in its)]
        return min(offsets), max(offsets)

    @property
    def reach(self) -> tuple[int, int]:
        """First and last offset of all that a window holds, inputs and targets."""
        first, last = self.input_reach
        offsets = [o for its in self.target.values() for o in its]
        return min([first, *offsets]), max([last, *(o + (self.timesteps or 1) - 1 for o in offsets)])

    def masked(self, key: str) -> bool:
        """Whether an observation has a mask of ``key``: an offset may leave the episode, or the action be absent."""
        return self.timesteps is None and (key in ACTIONS or any(self.observation[key]))

    def all_offsets(self) -> Iterator[tuple[str, str, NDArray[np.int64]]]:
        """Side, key, and offsets from the anchor of everything that a window holds."""
        for key, offsets in self.observation.items():
            yield "observation", key, np.array(offsets)
        for key in self.target:
            yield "target", key, self.target_offsets(key)

    def target_offsets(self, key: str) -> NDArray[np.int64]:
        """The offsets of a target from the anchor, (n,), or (T, n) of timesteps; ``future.<camera>`` has no n of 1."""
        offsets = np.array(self.target[key], np.int64)
        if key.startswith(FUTURE) and len(offsets) == 1:
            offsets = offsets.reshape(())
        if self.timesteps is None:
            return offsets
        return np.arange(self.timesteps).reshape(-1, *(1,) * offsets.ndim) + offsets


def read_window(window: WindowSpec | Mapping[str, Any], contract: Contract) -> WindowSpec:
    """The specification that a policy's ``window`` is, or whose options it holds.

    Options are those of :meth:`WindowSpec.causal`; ``horizon`` means ``horizons``, and without ``cameras`` all of the
    contract are taken. Raises :class:`ConfigurationError`.
    """
    if isinstance(window, WindowSpec):
        return window
    if not isinstance(window, Mapping):
        raise ConfigurationError(f"A policy's window is a WindowSpec or a mapping of options, not {window!r}.")
    options = dict(window)
    if unknown := [name for name in options if name not in _OPTIONS]:
        raise ConfigurationError(f"window: there is no option {unknown[0]!r}. {nearest(unknown[0], _OPTIONS)}")
    if missing := [name for name in ("history", "chunk") if name not in options]:
        raise ConfigurationError(f"window: {' and '.join(missing)} must be given, or a WindowSpec.")
    if "horizon" in options and "horizons" in options:
        raise ConfigurationError("window: horizon and horizons are one option. Give one of them.")
    if "horizon" in options:
        options["horizons"] = options.pop("horizon")
    if options.get("cameras") is None:
        options["cameras"] = [camera.name for camera in contract.cameras]
    return WindowSpec.causal(**options)


def _offsets(where: str, given: Any) -> tuple[int, ...]:
    try:
        offsets = tuple(given)
    except TypeError:
        offsets = ()
    if not offsets or not all(isinstance(o, int | np.integer) and not isinstance(o, bool) for o in offsets):
        raise ConfigurationError(f"window: {where} needs whole numbers of control steps, as (-1, 0), not {given!r}.")
    return tuple(map(int, offsets))


def _require_key(side: str, key: str) -> None:
    if key not in (STATE, *ACTIONS) and camera_of(key) is None and sensor_of(key) is None:
        raise ConfigurationError(f"window: {side} has no key {key!r}. {nearest(key, KEYS)}")
