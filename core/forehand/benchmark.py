"""Benchmark interface: seeded episodes with success conditions, and scripted experts. No torch."""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from forehand.errors import ConfigurationError
from forehand.robot import Episode, Robot


class Expert(ABC):
    """Scripted controller that solves an episode, with privileged state of the simulator."""

    @abstractmethod
    def act(self) -> NDArray[np.float32] | None:
        """The next action (A,), or None when there is nothing left to do."""

    @property
    def phase(self) -> str | None:
        """The phase of the latest action, in a word ("approach", "grasp"), where the expert has phases."""
        return None


def redrawn_seed(seed: int) -> int:
    """Another seed that follows from ``seed``, for :meth:`Benchmark.redrawn`."""
    return random.Random(f"redrawn {seed}").randrange(2**31)


def departure_notes(settings: Mapping[str, tuple[Any, Any]]) -> list[str]:
    """What is not as a protocol has it, for :attr:`Benchmark.notes`; settings: name → its value there, and here."""
    return [f"not as the protocol: {key}={is_}, where it has {was}" for key, (was, is_) in settings.items() if was != is_]


class Benchmark(ABC):
    """Seeded episodes on one kind of robot, with success judged by the robot's observations."""

    tasks: Sequence[str]
    robots: Sequence[str] = ()
    """The kinds of robots (:attr:`Robot.kind`) that its tasks are of; empty: any robot's."""
    annotations: Sequence[str] = ()
    """Options of its episodes that every recorded frame is annotated with, beside task and phase."""
    notes: Sequence[str] = ()
    """What is to be said with every success rate: the protocol, and settings that differ from it."""

    def require(self, robot: Robot) -> None:
        """Raise :class:`ConfigurationError` for a connected robot that has no such tasks, so that none can be judged."""
        if self.robots and robot.kind and robot.kind not in self.robots:
            raise ConfigurationError(
                f"The tasks of {type(self).__name__} are those of {' or '.join(self.robots)}, and {robot.kind} has "
                f"none of them. Choose the benchmark that was made for it (benchmark=…); an environment of Gymnasium "
                f"judges its own episodes with benchmark=gymnasium."
            )

    def evaluation_options(self, tasks: Sequence[str] | None = None) -> Mapping[str, Any]:
        """Options of ``forehand eval`` that its protocol prescribes for ``tasks``, where they are not given."""
        return {}

    @abstractmethod
    def episodes(self, count: int, seed: int, tasks: Sequence[str] | None = None) -> list[Episode]:
        """``count`` episodes spread evenly over ``tasks`` (default: all); the same arguments give the same list."""

    def trials(self, count: int, seed: int, tasks: Sequence[str] | None = None) -> list[tuple[Episode, ...]]:
        """What a policy is judged on: each trial is one episode, or a chain of them in one scene with no reset between.

        In a chain every episode but the first ``continues`` the previous one, and starts only after that succeeded.
        """
        return [(episode,) for episode in self.episodes(count, seed, tasks)]

    def trial(self, number: int, seed: int, tasks: Sequence[str] | None = None) -> tuple[Episode, ...]:
        """The trial of this number, from 0, of :meth:`trials` with the same arguments."""
        return self.trials(number + 1, seed, tasks)[number]

    def expert(self, robot: Robot, episode: Episode, seed: int) -> Expert:
        """An expert for ``episode`` on ``robot``, which has just been reset to it."""
        raise NotImplementedError(f"{type(self).__name__} has no expert")

    def counterfactual_instruction(self, episode: Episode) -> str:
        """Another instruction for the scene of ``episode``: following it does not accomplish the episode."""
        raise NotImplementedError(f"{type(self).__name__} has no other instruction for a scene")

    def redrawn(self, trial: tuple[Episode, ...]) -> tuple[Episode, ...]:
        """``trial`` under the same instructions, with everything where another seed, drawn from its own, puts it."""
        raise NotImplementedError(f"{type(self).__name__} has no other poses for a trial")
