"""Bodies and what is asked of them: observations, robots, episodes, benchmarks, experts. No torch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from forehand.contract import Contract


@dataclass(frozen=True)
class Observation:
    """What a robot senses at one moment.

    images: camera name → (H, W, 3) uint8 RGB; state: (S,) float32, laid out as the contract says; time: seconds on the
    robot's clock; success: whether the running episode's task is accomplished, or None where nobody can tell.
    """

    images: Mapping[str, NDArray[np.uint8]]
    state: NDArray[np.float32]
    time: float
    success: bool | None = None


@dataclass(frozen=True)
class Episode:
    """One trial: a task in a scene that ``seed`` determines, told to the robot as ``instruction``.

    continues: the scene stays as the episode before it left it, and the task is judged from there.
    """

    task: str
    instruction: str
    seed: int
    max_steps: int
    options: Mapping[str, str | int | float | bool] = field(default_factory=dict)
    continues: bool = False


class Robot(ABC):
    """A body. ``connect`` before anything else; the other methods are called from one thread at a time."""

    contract: Contract
    episode: Episode | None = None
    """The running episode, where the robot runs in this process."""

    def connect(self) -> None:  # noqa: B027  (bodies without a cable have nothing to do)
        """Open the hardware or the simulator."""

    @abstractmethod
    def reset(self, episode: Episode | None = None) -> Observation:
        """Bring the robot (and, in simulation, the scene that ``episode`` describes) to a start.

        Where the episode ``continues`` another, nothing moves, and only what is judged changes.
        """

    @abstractmethod
    def observe(self) -> Observation:
        """Sense now: proprioception first, then the cameras."""

    @abstractmethod
    def act(self, action: NDArray[np.float32]) -> NDArray[np.float32]:
        """Carry out one control step with ``action`` (A,); return what was really commanded, after limits."""

    def step(self, action: NDArray[np.float32]) -> Observation:
        """Act, then observe: one control step. A body at the far end of a wire answers both in one round trip."""
        self.act(action)
        return self.observe()

    @abstractmethod
    def hold(self) -> None:
        """Stay where you are until the next action: called when no fresh action came in time."""

    def stop(self) -> None:
        """Come to rest for good, since nobody drives any more: by default the same as :meth:`hold`.

        The next command is a :meth:`reset`. A body with brakes, or a safer pose, uses them here.
        """
        self.hold()

    def close(self) -> None:  # noqa: B027
        """Let go of the hardware or the simulator; calling it twice is harmless."""

    def for_people(self, size: int, portrait: bool = False) -> Robot:
        """A robot like this one, not connected, whose pictures are for people to look at: by default this one.

        A simulator draws them as well as it can, ``size`` pixels high; ``portrait`` asks for one more camera, the first
        of the contract's, that sees the whole scene.
        """
        return self


class Expert(ABC):
    """Someone who knows how an episode is solved, with whatever privileged knowledge it takes."""

    @abstractmethod
    def act(self) -> NDArray[np.float32] | None:
        """The next action (A,), or None when there is nothing left to do."""

    @property
    def phase(self) -> str | None:
        """What the latest action is about, in a word ("approach", "grasp"), where the expert can tell."""
        return None


@dataclass(frozen=True)
class Exhibit:
    """Something of a benchmark that is worth showing to people.

    section: the heading that it stands under; title and about: what it is, in a word and in a sentence; trial: what
    shows it, as one of :meth:`Benchmark.trials`; sentences: all that the task may be told with; film: whether it takes
    more than the trial's first moment to see it.
    """

    section: str
    title: str
    trial: Sequence[Episode]
    about: str = ""
    sentences: Sequence[str] = ()
    film: bool = True


class Benchmark(ABC):
    """Seeded episodes on one kind of robot, with success judged by the robot's observations."""

    tasks: Sequence[str]
    annotations: Sequence[str] = ()
    """Options of its episodes that every recorded frame is annotated with, beside task and phase."""

    @abstractmethod
    def episodes(self, count: int, seed: int, tasks: Sequence[str] | None = None) -> list[Episode]:
        """``count`` episodes spread evenly over ``tasks`` (default: all); the same arguments give the same list."""

    def trials(self, count: int, seed: int, tasks: Sequence[str] | None = None) -> list[tuple[Episode, ...]]:
        """What a policy is judged on: each trial is one episode, or a chain of them in one scene with no reset between.

        In a chain every episode but the first ``continues`` the one before, and is tried only once that succeeded.
        """
        return [(episode,) for episode in self.episodes(count, seed, tasks)]

    def trial(self, number: int, seed: int, tasks: Sequence[str] | None = None) -> tuple[Episode, ...]:
        """The one of this number, from 0, of :meth:`trials` with the same arguments."""
        return self.trials(number + 1, seed, tasks)[number]

    def expert(self, robot: Robot, episode: Episode, seed: int) -> Expert:
        """One who can solve ``episode`` on ``robot``, which has just been reset to it."""
        raise NotImplementedError(f"{type(self).__name__} has no expert")

    def other_instruction(self, episode: Episode) -> str:
        """Another sentence for the scene of ``episode``: who follows it, does not accomplish the episode."""
        raise NotImplementedError(f"{type(self).__name__} has no other instruction for a scene")

    def exhibits(self, seed: int) -> list[Exhibit]:
        """What is worth showing to people, section by section: by default each task, solved by the expert."""
        found = []
        for task in self.tasks:
            episodes = self.episodes(50, seed, [task])
            sentences = tuple(dict.fromkeys(episode.instruction for episode in episodes))
            found.append(Exhibit("Tasks", task.replace("_", " "), episodes[:1], sentences=sentences))
        return found
