"""Recording demonstrations in several processes at once; what is recorded does not depend on how many there are."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from forehand.contract import Contract
from forehand.data.demonstration import Noise, annotate, demonstrate
from forehand.data.recorder import Facts, Recorder
from forehand.data.video import Encoding
from forehand.errors import ForehandError
from forehand.registry import registry
from forehand.robot import Benchmark, Episode, Robot
from forehand.workers import Worker, Workers

MOST_ATTEMPTS = 20


class RecordingFailed(ForehandError):
    """A robot, an expert or a process failed while recording; finished episodes are kept."""


@dataclass(frozen=True)
class Assignment:
    """What is to be recorded: episode i is the i-th of ``benchmark.episodes(episodes, seed, tasks)``.

    Where the expert fails, the i-th of the same list under another seed takes its place, and so on; the seeds follow
    from ``seed``. Robot and benchmark are named as in the registry.
    """

    root: Path
    robot: str
    benchmark: str
    episodes: int
    seed: int
    robot_options: Mapping[str, Any] = field(default_factory=dict)
    benchmark_options: Mapping[str, Any] = field(default_factory=dict)
    tasks: Sequence[str] | None = None
    noise: Noise = field(default_factory=Noise)
    hold_steps: int = 3
    encoding: Encoding = field(default_factory=Encoding)

    def attempt(self, benchmark: Benchmark, number: int) -> list[Episode]:
        """All episodes as they are tried for the ``number``-th time, counted from 0."""
        seed = self.seed if number == 0 else int(np.random.SeedSequence([self.seed, number]).generate_state(1)[0])
        return benchmark.episodes(self.episodes, seed, self.tasks)


@dataclass(frozen=True)
class Saved:
    """An episode was recorded, after ``failures`` failed attempts."""

    index: int
    failures: int


class Crew:
    """Worker processes that record the episodes ``indices`` of an assignment, each whole episodes by itself.

    ::

        with Crew(assignment, indices, workers=2) as crew:
            check(crew.contract)
            for saved in crew.record(): ...
    """

    def __init__(self, assignment: Assignment, indices: Sequence[int], workers: int) -> None:
        self._workers = Workers(_Demonstrator(assignment), indices, workers, error=RecordingFailed)
        self.contract: Contract

    def __enter__(self) -> Crew:
        """Wait until every robot is connected; ``contract`` is theirs."""
        self.contract = self._workers.__enter__().greetings[-1]
        return self

    def __exit__(self, *_: object) -> None:
        self._workers.__exit__()

    def record(self) -> Iterator[Saved]:
        """Record, and tell of each episode once it is safe, until all are or until :meth:`stop`."""
        return self._workers.results()

    def stop(self) -> None:
        """Take no new episode; those under way are brought to their end."""
        self._workers.stop()


class _Demonstrator(Worker[int, Saved]):
    """Records the episodes of ``assignment`` that it is given, on a robot of its own."""

    doing = "The robot could not be connected"

    def __init__(self, assignment: Assignment) -> None:
        self._assignment = assignment
        self._robot: Robot | None = None

    def start(self) -> Contract:
        """Connect the robot."""
        assignment = self._assignment
        self._robot = registry().create("robot", assignment.robot, **assignment.robot_options)
        self._benchmark: Benchmark = registry().create("benchmark", assignment.benchmark, **assignment.benchmark_options)
        self._attempts = functools.cache(functools.partial(assignment.attempt, self._benchmark))
        self._robot.connect()
        self._recorder = Recorder(assignment.root, self._robot.contract, assignment.encoding)
        return self._robot.contract

    def work(self, task: int, stop: Callable[[], bool]) -> Saved | None:
        """Record one episode; None if it was to stop after a failed attempt."""
        self.doing = f"Recording stopped in episode {task}"
        for attempt in range(MOST_ATTEMPTS):
            episode = self._attempts(attempt)[task]
            try:
                if self._shown(episode, [self._assignment.seed, task, attempt]):
                    facts: Facts = annotate(self._benchmark, episode) | {"seed": episode.seed, "failures": attempt}
                    self._recorder.save(task, episode.instruction, **facts)
                    return Saved(task, attempt)
            finally:
                self._recorder.discard()
            if stop():
                return None
        raise RecordingFailed(
            f"the expert failed {MOST_ATTEMPTS} times in a row at {episode.task!r}, at last with seed {episode.seed}. "
            f"Reduce noise.std, or leave the task out with tasks=[…]."
        )

    def close(self) -> None:
        """Let go of the robot."""
        if self._robot is not None:
            self._robot.close()

    def _shown(self, episode: Episode, seed: list[int]) -> bool:
        assert self._robot is not None
        noise, hold_steps = self._assignment.noise, self._assignment.hold_steps
        return demonstrate(
            self._robot, self._benchmark, episode, self._recorder, seed=seed, noise=noise, hold_steps=hold_steps
        )
