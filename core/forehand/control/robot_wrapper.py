"""Base class of robot wrappers: forwards everything by default."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from forehand.contracts.contract import Contract
from forehand.robot import Episode, Observation, Robot
from forehand.showcase import for_rendering

if TYPE_CHECKING:
    from forehand.control.limited_robot import LimitedRobot


class RobotWrapper(Robot):
    """``robot``, with everything forwarded to it; a subclass overrides what it changes.

    A subclass that is made with more than a robot overrides :meth:`around` too.
    """

    def __init__(self, robot: Robot) -> None:
        self.robot = robot

    def around(self, robot: Robot) -> Robot:
        """A wrapper like this one around another ``robot``, not connected."""
        return type(self)(robot)

    @property
    def contract(self) -> Contract:  # type: ignore[override]
        """The robot's."""
        return self.robot.contract

    @property
    def episode(self) -> Episode | None:  # type: ignore[override]
        """The robot's."""
        return self.robot.episode

    @property
    def kind(self) -> str:
        """The robot's."""
        return self.robot.kind

    @property
    def patience(self) -> float:  # type: ignore[override]
        """The robot's."""
        return self.robot.patience

    @property
    def limited(self) -> LimitedRobot | None:
        """What keeps the contract's limits on every command of this wrapper, where that is known."""
        return None

    @property
    def unwrapped(self) -> Robot:
        """The robot inside all wrappers."""
        return self.robot.unwrapped

    def from_unwrapped(self, action: NDArray[np.float32]) -> NDArray[np.float32]:
        """An action (A,) of the unwrapped robot, as this one takes it."""
        return self.robot.from_unwrapped(action)

    def connect(self) -> None:
        """Connect the robot."""
        self.robot.connect()

    def reset(self, episode: Episode | None = None) -> Observation:
        """Reset the robot."""
        return self.robot.reset(episode)

    def observe(self) -> Observation:
        """What the robot observes."""
        return self.robot.observe()

    def act(self, action: NDArray[np.float32]) -> NDArray[np.float32]:
        """Have the robot carry out ``action`` (A,)."""
        return self.robot.act(action)

    def step(self, action: NDArray[np.float32]) -> Observation:
        """Have the robot carry out ``action`` (A,), then observe, in the one round trip that it may need for it."""
        return self.robot.step(action)

    def hold(self) -> None:
        """Have the robot hold."""
        self.robot.hold()

    def stop(self) -> None:
        """Stop the robot."""
        self.robot.stop()

    def close(self) -> None:
        """Close the robot."""
        self.robot.close()

    def for_rendering(self, size: int, overview: bool = False) -> Robot:
        """A wrapper like this one around the robot that renders for people; this one where that is the same robot."""
        other = for_rendering(self.robot, size, overview)
        return self if other is self.robot else self.around(other)
