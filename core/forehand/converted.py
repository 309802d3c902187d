"""A robot that speaks through conversions (:mod:`forehand.conversion`)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from forehand.contract import Contract
from forehand.conversion import CameraConversion, Conversion, FieldConversion, parse
from forehand.robot import Episode, Observation, Robot


class ConvertedRobot(Robot):
    """``robot``, as one who speaks through the conversions ``names``."""

    def __init__(self, robot: Robot, names: Sequence[str]) -> None:
        self.robot = robot
        self._names = tuple(names)
        self._parsed: tuple[Contract, list[Conversion], Contract] | None = None

    @property
    def contract(self) -> Contract:  # type: ignore[override]
        """The converted one; unknown until the robot's own is."""
        return self._conversions()[1]

    def connect(self) -> None:
        """Connect the robot, and see whether it can be converted."""
        self.robot.connect()
        self._conversions()

    def reset(self, episode: Episode | None = None) -> Observation:
        """Bring it to a start."""
        return self._out(self.robot.reset(episode))

    def observe(self) -> Observation:
        """Sense now."""
        return self._out(self.robot.observe())

    def act(self, action: NDArray[np.float32]) -> NDArray[np.float32]:
        """Carry out ``action``, in the converted layout; returns what was commanded, in the same."""
        commanded = self.robot.act(self._back(action))
        for step in self._of("action"):
            commanded = step.out(commanded)
        return commanded

    def step(self, action: NDArray[np.float32]) -> Observation:
        """Act, then observe, in the one round trip that the robot may need for it."""
        return self._out(self.robot.step(self._back(action)))

    def hold(self) -> None:
        """Stay where you are."""
        self.robot.hold()

    def close(self) -> None:
        """Let go of the robot."""
        self.robot.close()

    def _conversions(self) -> tuple[list[Conversion], Contract]:
        own = self.robot.contract
        if self._parsed is None or self._parsed[0] != own:
            self._parsed = (own, *parse(self._names, own))
        return self._parsed[1:]

    def _of(self, side: str) -> list[FieldConversion]:
        return [c for c in self._conversions()[0] if isinstance(c, FieldConversion) and c.side == side]

    def _out(self, seen: Observation) -> Observation:
        images, state = dict(seen.images), seen.state
        for step in self._conversions()[0]:
            if isinstance(step, CameraConversion):
                images = step.pictures(images)
            elif step.side == "state":
                state = step.out(state)
        return replace(seen, images=images, state=state)

    def _back(self, action: NDArray[np.float32]) -> NDArray[np.float32]:
        numbers: Any = np.asarray(action)
        if numbers.shape != (self.contract.action_size,):
            return numbers  # refused by the robot, which knows how to say it
        for step in reversed(self._of("action")):
            numbers = step.back(numbers)
        return np.asarray(numbers, np.float32)
