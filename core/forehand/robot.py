"""Robot interface: observations, actions and the driver base class. No torch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from forehand.contracts.contract import Contract


@dataclass(frozen=True)
class Observation:
    """What a robot senses at one moment.

    images: camera name → (H, W, 3) uint8 RGB; state: (S,) float32, laid out as the contract says; time: seconds on the
    robot's clock; success: whether the running episode's task is accomplished, or None where that is not observable;
    sensors: sensor name → array, of all sensors that are no RGB cameras (:class:`forehand.contracts.sensor.Sensor`);
    episode_return: sum of rewards since the reset, or None where there are none; ended: whether the environment itself
    has ended the episode, so that actions have no effect.
    """

    images: Mapping[str, NDArray[np.uint8]]
    state: NDArray[np.float32]
    time: float
    success: bool | None = None
    sensors: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    episode_return: float | None = None
    ended: bool = False


@dataclass(frozen=True)
class Episode:
    """One trial: a task in a scene that ``seed`` determines, with the policy's ``instruction``.

    continues: the scene stays as the episode before it left it, and the task is judged from there.
    """

    task: str
    instruction: str
    seed: int
    max_steps: int
    options: Mapping[str, str | int | float | bool] = field(default_factory=dict)
    continues: bool = False


class Robot(ABC):
    """Driver base class. Call ``connect`` first; the other methods are called from one thread at a time."""

    contract: Contract
    episode: Episode | None = None
    """The running episode, where the robot runs in this process."""
    patience: float = 10.0
    """Seconds that any call may take without a report that it has not returned."""

    @property
    def unwrapped(self) -> Robot:
        """The robot inside all wrappers (:mod:`forehand.control.robot_wrapper`): itself, where there are none."""
        return self

    def from_unwrapped(self, action: NDArray[np.float32]) -> NDArray[np.float32]:
        """An action (A,) of the :attr:`unwrapped` robot, as this one takes it; that is where experts look."""
        return action

    @property
    def kind(self) -> str:
        """The name of the driver's class, whatever it is wrapped in; "" where it is not known."""
        return type(self).__name__

    def connect(self) -> None:  # noqa: B027  (some robots have nothing to open)
        """Open the hardware or the simulator."""

    @abstractmethod
    def reset(self, episode: Episode | None = None) -> Observation:
        """Bring the robot, and in simulation the scene that ``episode`` describes, to a start.

        Where the episode ``continues`` another, nothing moves, and only the success condition changes.
        """

    @abstractmethod
    def observe(self) -> Observation:
        """Sense now: proprioception first, then the cameras."""

    @abstractmethod
    def act(self, action: NDArray[np.float32]) -> NDArray[np.float32]:
        """Carry out one control step with ``action`` (A,); return what was really commanded, after limits."""

    def step(self, action: NDArray[np.float32]) -> Observation:
        """Act, then observe: one control step. A remote robot does both in one round trip."""
        self.act(action)
        return self.observe()

    @abstractmethod
    def hold(self) -> None:
        """Keep the present position until the next action: called when no new action comes in time."""

    def stop(self) -> None:
        """Come to rest until the next :meth:`reset`, since no commands are expected: by default :meth:`hold`.

        A robot with brakes, or with a safer pose, uses them here.
        """
        self.hold()

    def close(self) -> None:  # noqa: B027
        """Close the hardware or the simulator; calling it twice is harmless."""


@runtime_checkable
class Undoes(Protocol):
    """A simulated robot that can go back to where it was, so that actions can be tried."""

    def undone(self) -> AbstractContextManager[None]:
        """Whatever the robot does inside the ``with`` statement has not happened after it."""
