"""Recording demonstrations in several processes at once; what is recorded does not depend on how many there are."""

from __future__ import annotations

import functools
import multiprocessing
import os
import signal
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing import connection
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


@dataclass(frozen=True)
class _Ready:
    contract: Contract


@dataclass(frozen=True)
class _Failed:
    reason: str
    traceback: str


class Crew:
    """Worker processes that record the episodes ``indices`` of an assignment, each whole episodes by itself.

    ::

        with Crew(assignment, indices, workers=2) as crew:
            check(crew.contract)
            for saved in crew.record(): ...
    """

    def __init__(self, assignment: Assignment, indices: Sequence[int], workers: int) -> None:
        # A simulator's renderer does not survive a fork.
        context = multiprocessing.get_context("spawn")
        self._stop = context.Event()
        self._position = context.Value("q", 0)  # kept, because a spawned process looks for it by name
        self._workers: dict[connection.Connection, Any] = {}
        with _deaf_to_interrupts():
            for number in range(min(workers, len(indices))):
                ours, theirs = context.Pipe()
                arguments = (theirs, assignment, tuple(indices), self._position, self._stop)
                process = context.Process(target=_work, args=arguments, name=f"recorder {number + 1}", daemon=True)
                process.start()
                theirs.close()  # so that the end of the process is the end of the pipe
                self._workers[ours] = process
        self.contract: Contract

    def __enter__(self) -> Crew:
        """Wait until every robot is connected; ``contract`` is theirs."""
        try:
            for ours, process in self._workers.items():
                message = _receive(ours, process)
                assert isinstance(message, _Ready)
                self.contract = message.contract
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for ours, process in self._workers.items():
            process.terminate()
            process.join()
            ours.close()

    def record(self) -> Iterator[Saved]:
        """Record, and tell of each episode once it is safe, until all are or until :meth:`stop`."""
        for ours in self._workers:
            ours.send("go")
        running = dict(self._workers)
        while running:
            for ready in connection.wait(list(running)):
                assert isinstance(ready, connection.Connection)
                try:
                    yield _receive(ready, running[ready])
                except EOFError:
                    del running[ready]

    def stop(self) -> None:
        """Take no new episode; those under way are brought to their end."""
        self._stop.set()


@contextmanager
def _deaf_to_interrupts() -> Iterator[None]:
    """Processes started meanwhile ignore Ctrl-C, which the terminal sends to all: the main process decides about it."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _receive(ours: connection.Connection, process: Any) -> Any:
    """The next message; EOFError where the process ended as it should."""
    try:
        message = ours.recv()
    except (EOFError, ConnectionResetError):
        process.join()
        if process.exitcode == 0:
            raise EOFError from None
        raise RecordingFailed(
            f"The process {process.name!r} died (exit code {process.exitcode}); is there enough memory for all workers?"
        ) from None
    if isinstance(message, _Failed):
        raise RecordingFailed(message.reason) from RuntimeError(message.traceback)
    return message


def _work(
    ours: connection.Connection, assignment: Assignment, indices: tuple[int, ...], position: Any, stop: Any
) -> None:
    """What each process runs."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_main, daemon=True).start()
    where = "The robot could not be connected"
    try:
        robot: Robot = registry().create("robot", assignment.robot, **assignment.robot_options)
        benchmark: Benchmark = registry().create("benchmark", assignment.benchmark, **assignment.benchmark_options)
        robot.connect()
        try:
            ours.send(_Ready(robot.contract))
            ours.recv()
            recorder = Recorder(assignment.root, robot.contract, assignment.encoding)
            attempts = functools.cache(functools.partial(assignment.attempt, benchmark))
            while not stop.is_set():
                with position.get_lock():
                    taken = position.value
                    position.value += 1
                if taken >= len(indices):
                    break
                index = indices[taken]
                where = f"Recording stopped in episode {index}"
                if (failures := _record_one(assignment, robot, benchmark, attempts, recorder, index, stop)) is not None:
                    ours.send(Saved(index, failures))
        finally:
            robot.close()
    except (EOFError, BrokenPipeError):
        pass  # the main process is gone
    except Exception as error:  # robots, experts and encoders fail in many ways; the main process tells
        what = str(error) if isinstance(error, ForehandError) else f"{type(error).__name__}: {error}"
        with suppress(OSError):
            ours.send(_Failed(f"{where}: {what}", traceback.format_exc()))
    finally:
        ours.close()


def _end_with_main() -> None:
    """Where the main process was killed, end at once: nothing may be recorded behind the back of the next one."""
    main = multiprocessing.parent_process()
    assert main is not None
    main.join()
    os._exit(1)


def _record_one(
    assignment: Assignment,
    robot: Robot,
    benchmark: Benchmark,
    attempts: Callable[[int], Sequence[Episode]],
    recorder: Recorder,
    index: int,
    stop: Any,
) -> int | None:
    """Record one episode, and return how often the expert failed before; None if it was to stop meanwhile."""
    for attempt in range(MOST_ATTEMPTS):
        episode = attempts(attempt)[index]
        seed = [assignment.seed, index, attempt]
        try:
            done = demonstrate(
                robot,
                benchmark,
                episode,
                recorder,
                seed=seed,
                noise=assignment.noise,
                hold_steps=assignment.hold_steps,
            )
            if done:
                facts: Facts = annotate(benchmark, episode) | {"seed": episode.seed, "failures": attempt}
                recorder.save(index, episode.instruction, **facts)
                return attempt
        finally:
            recorder.discard()
        if stop.is_set():
            return None
    raise RecordingFailed(
        f"the expert failed {MOST_ATTEMPTS} times in a row at {episode.task!r}, at last with seed {episode.seed}. "
        f"Reduce noise.std, or leave the task out with tasks=[…]."
    )
