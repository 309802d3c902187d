"""LeRobot robot as a Forehand robot. Needs LeRobot, and with it torch."""

from __future__ import annotations

import contextlib
import importlib
import inspect
import pkgutil
import time
from collections.abc import Callable, Mapping
from typing import Any

import draccus
import lerobot.cameras
import lerobot.robots
import numpy as np
from lerobot.robots import RobotConfig, make_robot_from_config
from lerobot.utils.import_utils import register_third_party_plugins
from numpy.typing import NDArray

from forehand import Camera, Contract, Episode, Field, Observation, Robot, Sensor
from forehand.control.finite import require_sensors
from forehand.errors import ConfigurationError, ForehandError, nearest
from forehand_robots.field_specs import FieldSpecs, override_fields, stated_rate, validate_action

VELOCITY = ".vel"
"""The suffix of LeRobot's velocity features, which keep a robot moving when no further command comes."""


class LeRobotRobot(Robot):
    """The LeRobot robot of ``type``, with ``config`` as ``lerobot-teleoperate --robot.…`` would take it.

    State and action are one field each, in the order of the robot's features, as LeRobot's recordings have them; the
    numbers' meaning can be stated with state_fields and action_fields. Features of one channel, as LeRobot has of cameras
    with ``use_depth``, are depth sensors in mm. rate: control rate in Hz.

    A reset moves nothing: bring the robot and the scene to a start by hand. It must have been calibrated before.
    """

    def __init__(
        self,
        type: str,
        config: Mapping[str, Any] | None = None,
        rate: float = 30.0,
        state_fields: FieldSpecs | None = None,
        action_fields: FieldSpecs | None = None,
    ) -> None:
        self._type = type
        self._robot = _build(type, dict(config or {}))
        features = self._robot.observation_features
        self._state = [name for name, kind in features.items() if kind is float]
        self._action = list(self._robot.action_features)
        cameras = {n: s for n, s in features.items() if isinstance(s, tuple) and len(s) == 3 and s[2] == 3}
        depths = {n: s for n, s in features.items() if isinstance(s, tuple) and len(s) == 3 and s[2] == 1}
        self.contract = Contract(
            cameras=tuple(Camera(name, height, width) for name, (height, width, _) in cameras.items()),
            state=override_fields((Field("state", len(self._state)),), state_fields, "robot.options.state_fields"),
            action=override_fields((Field("action", len(self._action)),), action_fields, "robot.options.action_fields"),
            rate=stated_rate(rate),
            sensors=tuple(Sensor(name, "depth", size[:2], "uint16", unit="mm") for name, size in depths.items()),
        )
        self._last: dict[str, float] = {}
        self._started = time.monotonic()

    def connect(self) -> None:
        """Open its ports and cameras; raises :class:`ForehandError` with LeRobot's own message if that fails."""
        if self._robot.is_connected:
            return
        try:
            self._robot.connect(**_without_calibration(self._robot.connect))
            calibrated = self._robot.is_calibrated
        except Exception as error:  # drivers of hardware fail in any way
            raise ForehandError(
                f"LeRobot's {self._type!r} cannot be connected: {type(error).__name__}: {error}. Check its cables, its "
                f"power and robot.options.config (port, cameras)."
            ) from error
        if not calibrated:
            self.close()
            raise ForehandError(
                f"LeRobot's {self._type!r} has no calibration: run lerobot-calibrate --robot.type={self._type} with the "
                f"same id first."
            )

    def reset(self, episode: Episode | None = None) -> Observation:
        """Sense; nothing moves."""
        return self.observe()

    def observe(self) -> Observation:
        """Sense now, in LeRobot's order: joints first, then the cameras. Depth of another type than uint16 is refused."""
        seen = self._robot.get_observation()
        state = np.array([seen[name] for name in self._state], np.float32)
        images = {c.name: np.array(seen[c.name], np.uint8) for c in self.contract.cameras}
        sensors = {s.name: np.array(seen[s.name]).reshape(s.full_shape) for s in self.contract.sensors}
        observation = Observation(images, state, time.monotonic() - self._started, sensors=sensors)
        require_sensors(observation, self.contract)
        return observation

    def act(self, action: NDArray[np.float32]) -> NDArray[np.float32]:
        """Send ``action`` (A,); returns the action that the robot reports as sent, after its own limits."""
        numbers = validate_action(action, self.contract)
        return self._send(dict(zip(self._action, map(float, numbers), strict=True)))

    def hold(self) -> None:
        """Send the last command again with velocities at zero; a robot under position control stays where it is."""
        if any(name.endswith(VELOCITY) for name in self._last):
            self._send({name: 0.0 if name.endswith(VELOCITY) else value for name, value in self._last.items()})

    def close(self) -> None:
        """Disconnect."""
        with contextlib.suppress(ForehandError):
            if self._robot.is_connected:
                self._robot.disconnect()

    def _send(self, command: dict[str, float]) -> NDArray[np.float32]:
        self._last = command
        sent = self._robot.send_action(command)
        return np.array([sent.get(name, command[name]) for name in self._action], np.float32)


def _without_calibration(connect: Callable[..., Any]) -> dict[str, bool]:
    """The arguments of ``connect`` that switch its interactive calibration off; none, where it takes no such argument."""
    parameters = inspect.signature(connect).parameters.values()
    calibrates = any(p.name == "calibrate" or p.kind is p.VAR_KEYWORD for p in parameters)
    return {"calibrate": False} if calibrates else {}


def _build(type: str, config: dict[str, Any]) -> Any:
    _register_robots_and_cameras()
    known = RobotConfig.get_known_choices()
    if type not in known:
        raise ConfigurationError(
            f"LeRobot has no robot of type {type!r}. {nearest(type, known)} Others come in distributions whose name "
            f"starts with lerobot_robot_."
        )
    try:
        return make_robot_from_config(draccus.decode(RobotConfig, {"type": type, **config}))
    except Exception as error:  # wrong options, packages that are missing, and whatever drivers do when they are made
        raise ConfigurationError(
            f"LeRobot cannot make a {type!r} with {config or 'no options'}: {error}. Correct robot.options.config, or "
            f"install what it needs."
        ) from error


def _register_robots_and_cameras() -> None:
    """Import LeRobot's modules, which registers their robots and cameras; those with missing dependencies are skipped."""
    for package in (lerobot.robots, lerobot.cameras):
        for module in pkgutil.iter_modules(package.__path__):
            if module.ispkg:
                with contextlib.suppress(ImportError):
                    importlib.import_module(f"{package.__name__}.{module.name}")
    register_third_party_plugins()
