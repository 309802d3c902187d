"""Parallel recording of demonstrations in several processes; the episodes do not depend on how many there are."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from forehand.benchmark import Benchmark
from forehand.contracts.contract import Contract
from forehand.control.converted_robot import converted
from forehand.control.slow_calls import SlowCallReporter
from forehand.data.demonstrations.demonstrate import Noise, annotate, demonstrate
from forehand.data.recording.recorder import Facts, Recorder
from forehand.errors import ForehandError
from forehand.plugins import registry
from forehand.robot import Episode, Robot
from forehand.utils.process_pool import ProcessPool, Worker
from forehand.utils.video import Encoding

MAX_ATTEMPTS = 20


class RecordingFailed(ForehandError):
    """A robot, an expert or a process failed while recording; finished episodes are kept."""


@dataclass(frozen=True)
class RecordingJob:
    """What is to be recorded: episode i is the i-th of ``benchmark.episodes(episodes, seed, tasks)``.

    Where the expert fails, the i-th of the same list under another seed takes its place, and so on; the seeds follow
    from ``seed``. Robot and benchmark are named as in the registry; ``convert``: conversions of the robot's contract.
    """

    root: Path
    robot: str
    benchmark: str
    episodes: int
    seed: int
    robot_options: Mapping[str, Any] = field(default_factory=dict)
    convert: Sequence[str] = ()
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
class RecordedEpisode:
    """An episode was recorded, after ``failures`` failed attempts."""

    index: int
    failures: int


class ParallelRecorder:
    """Worker processes that record the episodes ``indices`` of a job, each worker whole episodes.

    ::

        with ParallelRecorder(job, indices, workers=2) as recorder:
            check(recorder.contract)
            for saved in recorder.record(): ...
    """

    def __init__(self, job: RecordingJob, indices: Sequence[int], workers: int) -> None:
        self._workers = ProcessPool(_Demonstrator(job), indices, workers, error=RecordingFailed)
        self.contract: Contract

    def __enter__(self) -> ParallelRecorder:
        """Wait until every robot is connected; ``contract`` is theirs."""
        self.contract = self._workers.__enter__().ready[-1]
        return self

    def __exit__(self, *_: object) -> None:
        self._workers.__exit__()

    def record(self) -> Iterator[RecordedEpisode]:
        """Record, and yield each episode once it is on disk, until all are or until :meth:`stop`."""
        return self._workers.results()

    def stop(self) -> None:
        """Start no new episode; those under way are finished."""
        self._workers.stop()


class _Demonstrator(Worker[int, RecordedEpisode]):
    """Worker that records episodes of ``job`` on a robot of its own."""

    stage = "The robot could not be connected"

    def __init__(self, job: RecordingJob) -> None:
        self._job = job
        self._robot: Robot | None = None

    def start(self) -> Contract:
        """Connect the robot."""
        job = self._job
        robot: Robot = registry().create("robot", job.robot, **job.robot_options)
        self._robot = SlowCallReporter(converted(robot, job.convert))
        self._benchmark: Benchmark = registry().create("benchmark", job.benchmark, **job.benchmark_options)
        self._attempts = functools.cache(functools.partial(job.attempt, self._benchmark))
        self._robot.connect()
        self._benchmark.require(self._robot)
        self._recorder = Recorder(job.root, self._robot.contract, job.encoding)
        return self._robot.contract

    def work(self, task: int, stop: Callable[[], bool]) -> RecordedEpisode | None:
        """Record one episode; None if it was to stop after a failed attempt."""
        self.stage = f"Recording stopped in episode {task}"
        for attempt in range(MAX_ATTEMPTS):
            episode = self._attempts(attempt)[task]
            try:
                if self._demonstrate(episode, [self._job.seed, task, attempt]):
                    facts: Facts = annotate(self._benchmark, episode) | {"seed": episode.seed, "failures": attempt}
                    self._recorder.save(task, episode.instruction, **facts)
                    return RecordedEpisode(task, attempt)
            finally:
                self._recorder.discard()
            if stop():
                return None
        raise RecordingFailed(
            f"the expert failed {MAX_ATTEMPTS} times in a row at {episode.task!r}, at last with seed {episode.seed}. "
            f"Reduce noise.std, or leave the task out with tasks=[…]."
        )

    def close(self) -> None:
        """Disconnect the robot."""
        if self._robot is not None:
            self._robot.close()

    def _demonstrate(self, episode: Episode, seed: list[int]) -> bool:
        assert self._robot is not None
        noise, hold_steps = self._job.noise, self._job.hold_steps
        return demonstrate(
            self._robot, self._benchmark, episode, self._recorder, seed=seed, noise=noise, hold_steps=hold_steps
        )
