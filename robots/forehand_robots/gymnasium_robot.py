"""Gymnasium environment as a robot. No torch."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from forehand import Camera, Contract, Episode, Observation, Robot
from forehand.errors import ConfigurationError, ForehandError
from forehand.utils.numbers import finite
from forehand.utils.rendering import choose_renderer
from forehand_robots import spaces
from forehand_robots.field_specs import FieldSpecs, override_fields, stated_rate, validate_action

choose_renderer()  # before MuJoCo is imported: without a display its environments would end the process

log = logging.getLogger(__name__)

RENDER = "render"
SUCCESS = ("is_success", "success")
"""Keys of ``info`` under which environments report that the task is accomplished."""


class GymnasiumRobot(Robot):
    """The environment ``gymnasium.make(id, **make)``; ``"package:Name-v0"`` imports the package that registers it first.

    cameras: the robot's camera name → key of the observation (``"pixels/top"`` in nested dictionaries), or ``"render"``
    for the image of ``render()``; by default every image of the observation, under the last part of its key. state: keys
    of the observation in the order of the state vector, by default all that are not images. rate: Hz, by default the
    environment's ``render_fps``. state_fields, action_fields: the meaning of the numbers, which spaces do not hold.

    success_return: sum of rewards from which an episode that is over counts as accomplished, where ``info`` has no
    success; by default the environment's own ``reward_threshold``.

    The contract is available once connected. Time passes only in :meth:`act`. After the environment has ended an episode,
    actions have no effect until :meth:`reset`. Success is that of ``info`` (``is_success`` or ``success``), else it
    follows from the return, else it is unknown and the return alone is judged.
    """

    contract: Contract

    def __init__(
        self,
        id: str,
        make: Mapping[str, Any] | None = None,
        cameras: Mapping[str, str] | None = None,
        state: Sequence[str] | None = None,
        rate: float | None = None,
        state_fields: FieldSpecs | None = None,
        action_fields: FieldSpecs | None = None,
        success_return: float | None = None,
    ) -> None:
        finite(**{"robot.options.success_return": success_return})
        self._success_return = success_return
        self._max_steps: int | None = None

        self._id, self._make, self._rate = id, dict(make or {}), rate
        self._given_cameras, self._given_state = cameras, state
        self._state_fields, self._action_fields = state_fields, action_fields
        self._cameras: dict[str, str] = {}
        self._state: list[str] = []
        self._environment: gymnasium.Env[Any, Any] | None = None
        self._seen: spaces.Leaves = {}
        self._success: bool | None = None
        self._over = self._info_has_success = False
        self._steps, self._return = 0, 0.0

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
        choose_renderer()  # again: Gymnasium reads the variable only as it draws
        renders = RENDER in (self._given_cameras or {}).values()
        mode = {"render_mode": "rgb_array"} if renders else {}
        try:
            # Episode.max_steps limits an episode instead.
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
        self._return, self._info_has_success = 0.0, False
        self._max_steps = None if episode is None else episode.max_steps
        self._take(seen, info)
        return self.observe()

    def observe(self) -> Observation:
        """The observation of the last step or reset; images of ``render()`` are drawn now."""
        # Environments may reuse their arrays: an observation must not change afterwards.
        images = {name: np.array(self._picture(key), np.uint8) for name, key in self._cameras.items()}
        parts = [np.ravel(self._seen[key]) for key in self._state]
        state = np.concatenate(parts).astype(np.float32) if parts else np.zeros(0, np.float32)
        return Observation(
            images,
            state,
            self._steps / self.contract.rate,
            self._success,
            episode_return=self._return,
            ended=self._over,
        )

    def act(self, action: NDArray[np.float32]) -> NDArray[np.float32]:
        """One step with ``action``, clipped to the space; raises :class:`ContractMismatch` before anything moves."""
        commanded = validate_action(action, self.contract)
        if self._over:
            return commanded
        environment = self.environment
        seen, reward, terminated, truncated, info = environment.step(
            spaces.to_action(commanded, environment.action_space)
        )
        self._steps += 1
        self._return += float(reward)
        self._over = bool(terminated or truncated)
        self._take(seen, info)
        if self._over:
            log.info(
                "%s ended the episode after %d steps; actions have no effect until the next reset", self._id, self._steps
            )
        return commanded

    def hold(self) -> None:
        """Nothing: an environment does not move between steps."""

    def close(self) -> None:
        """Close the environment."""
        if self._environment is not None:
            self._environment.close()
            self._environment = None

    def _take(self, seen: Any, info: Mapping[str, Any]) -> None:
        self._seen = spaces.values(seen)
        for key in SUCCESS:
            if key in info:
                self._success, self._info_has_success = bool(info[key]), True
                return
        wanted = self._success_return
        if wanted is None and self.environment.spec is not None:
            wanted = self.environment.spec.reward_threshold
        if self._steps and not self._info_has_success and wanted is not None:
            self._success = (self._over or self._steps == self._max_steps) and self._return >= wanted

    def _picture(self, key: str) -> Any:
        return self.environment.render() if key == RENDER else self._seen[key]

    def _read_spaces(self) -> Contract:
        environment = self.environment
        found = spaces.leaves(environment.observation_space)
        pictures = [key for key, space in found.items() if spaces.is_image(space)]
        by_name = {_name(key, pictures): key for key in pictures}
        self._cameras = by_name if self._given_cameras is None else dict(self._given_cameras)
        self._state = [k for k in found if k not in pictures] if self._given_state is None else list(self._given_state)
        self._require({"cameras": list(self._cameras.values()), "state": self._state}, found)
        derived = tuple(spaces.state_field(_state_name(key), found[key]) for key in self._state)
        return Contract(
            cameras=tuple(self._camera(name, key, found) for name, key in self._cameras.items()),
            state=override_fields(derived, self._state_fields, "robot.options.state_fields"),
            action=override_fields(
                spaces.action_fields(environment.action_space), self._action_fields, "robot.options.action_fields"
            ),
            rate=self._control_rate(),
        )

    def _require(self, wanted: Mapping[str, Sequence[str]], found: spaces.Leaves) -> None:
        for option, keys in wanted.items():
            missing = [k for k in keys if k not in found and not (option == "cameras" and k == RENDER)]
            if missing:
                raise ConfigurationError(
                    f"robot.options.{option} names {missing}, which observations of {self._id} do not have; they have "
                    f"{sorted(found)}" + (f", and {RENDER!r} is the image of render()." if option == "cameras" else ".")
                )

    def _camera(self, name: str, key: str, found: spaces.Leaves) -> Camera:
        if key == RENDER:
            self.environment.reset()  # nothing can be drawn before
            picture = self.environment.render()
            if not isinstance(picture, np.ndarray) or picture.dtype != np.uint8 or picture.shape[2:] != (3,):
                raise ConfigurationError(
                    f"render() of {self._id} returned {_dtype_and_shape(picture)}, not an image (H, W, 3) uint8. Leave "
                    f"{name!r} out of robot.options.cameras."
                )
            return Camera(name, *picture.shape[:2])
        if not spaces.is_image(found[key]):
            raise ConfigurationError(
                f"{key!r} of {self._id} cannot be camera {name!r}: it is {found[key]}, not (H, W, 3) uint8."
            )
        return Camera(name, *found[key].shape[:2])

    def _control_rate(self) -> float:
        if self._rate is not None:
            return stated_rate(self._rate)
        rate = self.environment.metadata.get("render_fps")
        if rate is None:
            raise ConfigurationError(f"{self._id} states no rate (render_fps). Give robot.options.rate=… in Hz.")
        return stated_rate(rate, f"render_fps of {self._id}, which robot.options.rate=… replaces,")


def _name(key: str, pictures: Sequence[str]) -> str:
    """The last part of ``key`` where no other image shares it, else all of it."""
    last = key.rpartition("/")[2]
    return last if [k.rpartition("/")[2] for k in pictures].count(last) == 1 else key


def _state_name(key: str) -> str:
    return "state" if key == spaces.SINGLE else key


def _dtype_and_shape(value: Any) -> str:
    return f"{value.dtype} {value.shape}" if isinstance(value, np.ndarray) else repr(value)
