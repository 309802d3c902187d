"""Robot wrapper that applies contract conversions (:mod:`forehand.contracts.conversion`)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from forehand.contracts.contract import Contract
from forehand.contracts.conversion import CameraConversion, Conversion, FieldConversion, SensorConversion, parse, scales
from forehand.control.limits import answered, inside_range
from forehand.control.robot_wrapper import RobotWrapper
from forehand.robot import Episode, Observation, Robot
from forehand.showcase import for_rendering


def converted(robot: Robot, names: Sequence[str] | None) -> Robot:
    """``robot``, speaking through the conversions ``names`` where there are any."""
    return ConvertedRobot(robot, names) if names else robot


class ConvertedRobot(RobotWrapper):
    """``robot`` with its contract, observations and actions converted by ``names``."""

    def __init__(self, robot: Robot, names: Sequence[str]) -> None:
        super().__init__(robot)
        self._names = tuple(names)
        self._parsed: tuple[Contract, list[Conversion], Contract] | None = None

    def around(self, robot: Robot) -> Robot:
        """The same conversions of another robot."""
        return ConvertedRobot(robot, self._names)

    @property
    def contract(self) -> Contract:  # type: ignore[override]
        """The converted one; unknown until the robot's own is."""
        return self._conversions()[1]

    def from_unwrapped(self, action: NDArray[np.float32]) -> NDArray[np.float32]:
        """An action (A,) of the unwrapped robot, converted."""
        return self._action_out(super().from_unwrapped(action))

    def connect(self) -> None:
        """Connect the robot, and see whether it can be converted."""
        super().connect()
        self._conversions()

    def reset(self, episode: Episode | None = None) -> Observation:
        """Bring it to a start."""
        return self._out(super().reset(episode))

    def observe(self) -> Observation:
        """Sense now."""
        return self._out(super().observe())

    def act(self, action: NDArray[np.float32]) -> NDArray[np.float32]:
        """Carry out ``action``, in the converted layout; returns what was commanded, in the same."""
        return self._action_out(answered(super().act(self._back(action)), self.robot.contract))

    def step(self, action: NDArray[np.float32]) -> Observation:
        """Act, then observe, in the one round trip that the robot may need for it."""
        return self._out(super().step(self._back(action)))

    def for_rendering(self, size: int, overview: bool = False) -> Robot:
        """The converted robot that renders for people, without scaling of images."""
        other = for_rendering(self.robot, size, overview)
        return self if other is self.robot else converted(other, [name for name in self._names if not scales(name)])

    def _conversions(self) -> tuple[list[Conversion], Contract]:
        own = self.robot.contract
        if self._parsed is None or self._parsed[0] != own:
            self._parsed = (own, *parse(self._names, own))
        return self._parsed[1:]

    def _of(self, side: str) -> list[FieldConversion]:
        return [c for c in self._conversions()[0] if isinstance(c, FieldConversion) and c.side == side]

    def _out(self, seen: Observation) -> Observation:
        images, state, sensors = dict(seen.images), seen.state, dict(seen.sensors)
        for step in self._conversions()[0]:
            if isinstance(step, CameraConversion):
                images = step.apply(images)
            elif isinstance(step, SensorConversion):
                sensors = step.apply(sensors)
            elif step.side == "state":
                state = step.to_policy(state)
        return replace(seen, images=images, state=state, sensors=sensors)

    def _action_out(self, action: NDArray[np.float32]) -> NDArray[np.float32]:
        for step in self._of("action"):
            action = step.to_policy(action)
        return action

    def _back(self, action: NDArray[np.float32]) -> NDArray[np.float32]:
        numbers: Any = np.asarray(action)
        if numbers.shape != (self.contract.action_size,):
            return numbers  # the robot raises its own error
        for step in reversed(self._of("action")):
            numbers = step.to_robot(numbers)
        return inside_range(np.asarray(numbers, np.float32), self.robot.contract)
