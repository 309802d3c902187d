"""Any Gymnasium environment as a robot. No torch."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from forehand import Camera, Contract, Episode, Observation, Robot
from forehand.errors import ConfigurationError, ForehandError
from forehand_robots import spaces
from forehand_robots.statements import Statements, checked, stated
from forehand_robots.tabletop.rendering import choose_renderer

choose_renderer()  # before MuJoCo is imported: without a screen its environments would end the process

log = logging.getLogger(__name__)

RENDER = "render"
SUCCESS = ("is_success", "success")
"""Where environments say in ``info`` that the task is accomplished."""


class GymnasiumRobot(Robot):
    """The environment ``gymnasium.make(id, **make)``; ``"package:Name-v0"`` imports the package that registers it first.

    cameras: our name → key of the observation (``"pixels/top"`` in nested dictionaries), or ``"render"`` for what
    ``render()`` draws; by default every picture of the observation, under the last part of its key. state: keys of the
    observation in the order of the state vector, by default all that are no picture. rate: Hz, by default the
    environment's ``render_fps``. state_fields, action_fields: what the numbers mean, which no space tells.

    The contract is known once connected. Time passes only in :meth:`act`. An environment that ended an episode stands
    still until :meth:`reset`; ``info`` tells success (``is_success`` or ``success``), else nobody does.
    """

    contract: Contract

    def __init__(
        self,
        id: str,
        make: Mapping[str, Any] | None = None,
        cameras: Mapping[str, str] | None = None,
        state: Sequence[str] | None = None,
        rate: float | None = None,
        state_fields: Statements | None = None,
        action_fields: Statements | None = None,
    ) -> None:
        self._id, self._make, self._rate = id, dict(make or {}), rate
        self._asked_cameras, self._asked_state = cameras, state
        self._state_fields, self._action_fields = state_fields, action_fields
        self._cameras: dict[str, str] = {}
        self._state: list[str] = []
        self._environment: gymnasium.Env[Any, Any] | None = None
        self._seen: spaces.Leaves = {}
        self._success: bool | None = None
        self._over = False
        self._steps = 0

    @property
    def environment(self) -> gymnasium.Env[Any, Any]:
        """The environment itself."""
        if self._environment is None:
            raise ForehandError(f"The environment {self._id} is not connected; call connect() first.")
        return self._environment

    def connect(self) -> None:
        """Make the environment and read its spaces; raises :class:`ConfigurationError` if it cannot serve as a robot."""
        if self._environment is not None:
            return
        renders = RENDER in (self._asked_cameras or {}).values()
        mode = {"render_mode": "rgb_array"} if renders else {}
        try:
            # Episode.max_steps says how long an episode is.
            self._environment = gymnasium.make(self._id, **{"max_episode_steps": -1, **mode, **self._make})
            self.contract = self._read_spaces()
        except ForehandError:
            self.close()
            raise
        except Exception as error:  # environments are foreign code and fail in many ways, all of which mean: not this one
            self.close()
            raise ConfigurationError(
                f"Gymnasium cannot make {self._id!r} with {self._make or 'no arguments'}: {type(error).__name__}: "
                f"{error}. Correct robot.options.id or robot.options.make, or install what it needs."
            ) from error

    def reset(self, episode: Episode | None = None) -> Observation:
        """Start an episode from its seed and options; without one the environment draws its own."""
        seed, options = (None, None) if episode is None else (episode.seed, dict(episode.options) or None)
        seen, info = self.environment.reset(seed=seed, options=options)
        self._steps, self._over, self._success = 0, False, None
        self._take(seen, info)
        return self.observe()

    def observe(self) -> Observation:
        """What the last step or reset showed; pictures of ``render()`` are drawn now."""
        # Environments may reuse their arrays: an observation must not change afterwards.
        images = {name: np.array(self._picture(key), np.uint8) for name, key in self._cameras.items()}
        parts = [np.ravel(self._seen[key]) for key in self._state]
        state = np.concatenate(parts).astype(np.float32) if parts else np.zeros(0, np.float32)
        return Observation(images, state, self._steps / self.contract.rate, self._success)

    def act(self, action: NDArray[np.float32]) -> NDArray[np.float32]:
        """One step with ``action``, clipped to the space; raises :class:`ContractMismatch` before anything moves."""
        commanded = checked(action, self.contract)
        if self._over:
            return commanded
        environment = self.environment
        seen, _, terminated, truncated, info = environment.step(spaces.to_action(commanded, environment.action_space))
        self._steps += 1
        self._take(seen, info)
        self._over = bool(terminated or truncated)
        if self._over:
            log.info("%s ended the episode after %d steps; it stands still until the next reset", self._id, self._steps)
        return commanded

    def hold(self) -> None:
        """Nothing: an environment stands still between steps."""

    def close(self) -> None:
        """Let the environment go."""
        if self._environment is not None:
            self._environment.close()
            self._environment = None

    def _take(self, seen: Any, info: Mapping[str, Any]) -> None:
        self._seen = spaces.values(seen)
        for key in SUCCESS:
            if key in info:
                self._success = bool(info[key])
                break

    def _picture(self, key: str) -> Any:
        return self.environment.render() if key == RENDER else self._seen[key]

    def _read_spaces(self) -> Contract:
        environment = self.environment
        found = spaces.leaves(environment.observation_space)
        pictures = [key for key, space in found.items() if spaces.is_image(space)]
        asked = {_name(key, pictures): key for key in pictures} if self._asked_cameras is None else self._asked_cameras
        self._cameras = dict(asked)
        self._state = [k for k in found if k not in pictures] if self._asked_state is None else list(self._asked_state)
        self._require({"cameras": list(self._cameras.values()), "state": self._state}, found)
        derived = tuple(spaces.state_field(_state_name(key), found[key]) for key in self._state)
        return Contract(
            cameras=tuple(self._camera(name, key, found) for name, key in self._cameras.items()),
            state=stated(derived, self._state_fields, "robot.options.state_fields"),
            action=stated(
                spaces.action_fields(environment.action_space), self._action_fields, "robot.options.action_fields"
            ),
            rate=self._control_rate(),
        )

    def _require(self, asked: Mapping[str, Sequence[str]], found: spaces.Leaves) -> None:
        for option, keys in asked.items():
            missing = [k for k in keys if k not in found and not (option == "cameras" and k == RENDER)]
            if missing:
                raise ConfigurationError(
                    f"robot.options.{option} names {missing}, which {self._id} does not observe; it has {sorted(found)}"
                    + (f", and {RENDER!r} is what it draws." if option == "cameras" else ".")
                )

    def _camera(self, name: str, key: str, found: spaces.Leaves) -> Camera:
        if key == RENDER:
            self.environment.reset()  # nothing can be drawn before
            picture = self.environment.render()
            if not isinstance(picture, np.ndarray) or picture.dtype != np.uint8 or picture.shape[2:] != (3,):
                raise ConfigurationError(
                    f"{self._id} does not draw a picture with render(): it gave {_describe(picture)}. Leave {name!r} out "
                    f"of robot.options.cameras."
                )
            return Camera(name, *picture.shape[:2])
        if not spaces.is_image(found[key]):
            raise ConfigurationError(
                f"{key!r} of {self._id} cannot be camera {name!r}: it is {found[key]}, not (H, W, 3) uint8."
            )
        return Camera(name, *found[key].shape[:2])

    def _control_rate(self) -> float:
        rate = self._rate or self.environment.metadata.get("render_fps")
        if not rate:
            raise ConfigurationError(f"{self._id} does not say its rate (render_fps). Give robot.options.rate=… in Hz.")
        return float(rate)


def _name(key: str, pictures: Sequence[str]) -> str:
    """The last part of ``key`` where that tells the pictures apart, else all of it."""
    last = key.rpartition("/")[2]
    return last if [k.rpartition("/")[2] for k in pictures].count(last) == 1 else key


def _state_name(key: str) -> str:
    return "state" if key == spaces.ALONE else key


def _describe(value: Any) -> str:
    return f"{value.dtype} {value.shape}" if isinstance(value, np.ndarray) else repr(value)
