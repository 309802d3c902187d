"""Episode runners: parallel trials on robots in threads, or on simulators in worker processes."""

from __future__ import annotations

import logging
import queue
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from forehand.benchmark import Benchmark
from forehand.contracts.contract import Contract
from forehand.control.chunking import ActionChunker
from forehand.errors import ConfigurationError, ForehandError, contained, describe
from forehand.evaluation.results import EpisodeResult
from forehand.evaluation.trials import Trial, TrialRunner
from forehand.policy import Policy, Prediction, Session
from forehand.robot import Observation, Robot
from forehand.running.rollout import Stopped
from forehand.utils.process_pool import ProcessPool, Worker

log = logging.getLogger(__name__)


class RunnerFailed(ForehandError):
    """A robot or a policy failed; the message names what that interrupted."""


class EpisodeRunner(ABC):
    """Drives trials, several at once; what comes of a trial does not depend on how many there are."""

    @abstractmethod
    def run(self, trials: Sequence[Trial]) -> AbstractContextManager[Iterator[list[EpisodeResult]]]:
        """The results of each trial as it finishes; at the end of the block every robot has stopped and is closed.

        Where a robot fails the others finish their trials, then :class:`RunnerFailed` is raised. Leaving the block early
        gives up those under way.
        """


class ThreadRunner(EpisodeRunner):
    """Robots that are driven by a thread each: bodies, remote ones, or one simulator.

    policy: one for all (robots take turns at it), or one for each of them. Of robots none is connected yet; each must be
    one that ``benchmark`` was made for, where that is given. ``chunking``: as that of
    :class:`TrialRunner`. ``latency``: of each policy, in seconds of simulated time.
    """

    def __init__(
        self,
        policy: Policy | Sequence[Policy],
        robots: Sequence[Robot],
        chunking: Callable[[Contract], ActionChunker],
        benchmark: Benchmark | None = None,
        latency: float = 0.0,
    ) -> None:
        if not robots:
            raise ConfigurationError("An evaluation needs at least one robot.")
        policies = [policy] * len(robots) if isinstance(policy, Policy) else list(policy)
        if len(policies) != len(robots):
            raise ConfigurationError(f"{len(robots)} robots need one policy, or one each; not {len(policies)}.")
        locks: dict[int, threading.Lock] = {}
        self._trial_runners = []
        for number, (robot, one) in enumerate(zip(robots, policies, strict=True), start=1):
            shared = _TakingTurns(one, locks.setdefault(id(one), threading.Lock()))
            name = f"Robot {number} of {len(robots)}" if len(robots) > 1 else "The robot"
            self._trial_runners.append(TrialRunner(shared, robot, chunking, name, benchmark, latency))

    @contextmanager
    def run(self, trials: Sequence[Trial]) -> Iterator[Iterator[list[EpisodeResult]]]:
        threads = _Threads(self._trial_runners, trials)
        try:
            yield threads.results()
        finally:
            threads.end()


class ProcessRunner(EpisodeRunner):
    """``workers`` processes, each with a driver that ``make_runner`` makes there.

    ``make_runner`` is pickled on its way: a function of a module, or a :func:`functools.partial` of one.
    """

    def __init__(self, make_runner: Callable[[], TrialRunner], workers: int) -> None:
        self._make_runner, self._workers = make_runner, workers

    @contextmanager
    def run(self, trials: Sequence[Trial]) -> Iterator[Iterator[list[EpisodeResult]]]:
        with ProcessPool(_Process(self._make_runner), trials, self._workers, error=RunnerFailed) as workers:
            yield workers.results()


class _Process(Worker[Trial, list[EpisodeResult]]):
    def __init__(self, make_runner: Callable[[], TrialRunner]) -> None:
        self._make_runner = make_runner
        self._runner: TrialRunner | None = None

    def start(self) -> None:
        self._runner = self._make_runner()
        try:
            self._runner.connect()
        finally:
            self.stage = self._runner.stage

    def work(self, task: Trial, stop: Callable[[], bool]) -> list[EpisodeResult]:
        assert self._runner is not None
        try:
            return self._runner.drive(task)
        finally:
            self.stage = self._runner.stage

    def close(self) -> None:
        if self._runner is not None:
            self._runner.close()


class _TakingTurns(Policy):
    """A policy shared by several robots, behind a lock, since policies need not be thread-safe."""

    def __init__(self, policy: Policy, lock: threading.Lock) -> None:
        self.policy, self.lock = policy, lock
        self.contract, self.history, self.origin = policy.contract, policy.history, policy.origin
        self.samples = policy.samples

    def for_robot(self, contract: Contract, needer: str = "the policy", offerer: str = "the robot") -> Policy:
        return _TakingTurns(self.policy.for_robot(contract, needer, offerer), self.lock)

    def open(self, instruction: str, seed: int = 0) -> Session:
        with self.lock:
            return self.policy.open(instruction, seed)

    def step(
        self, sessions: Sequence[Session], observations: Sequence[Observation], *, forecast: bool = False
    ) -> list[Prediction]:
        with self.lock:
            return self.policy.step(sessions, observations, forecast=forecast)

    def remember(self, session: Session, observations: Sequence[Observation]) -> None:
        with self.lock:
            self.policy.remember(session, observations)

    def describe(self) -> dict[str, Any]:
        with self.lock:
            return self.policy.describe()


class _Threads:
    """One thread for each driver, at work from the beginning."""

    def __init__(self, runners: Sequence[TrialRunner], trials: Sequence[Trial]) -> None:
        self._failure: tuple[str, Exception] | None = None
        self._todo: queue.SimpleQueue[Trial] = queue.SimpleQueue()
        for trial in trials:
            self._todo.put(trial)
        self._done: queue.SimpleQueue[list[EpisodeResult] | None] = queue.SimpleQueue()
        self._no_more = threading.Event()  # take no new trial
        self._give_up = threading.Event()  # and leave the running one
        self._threads = [threading.Thread(target=self._work, args=(runner,), daemon=True) for runner in runners]
        for thread in self._threads:
            thread.start()

    def end(self) -> None:
        self._no_more.set()
        self._give_up.set()
        for thread in self._threads:
            thread.join()

    def results(self) -> Iterator[list[EpisodeResult]]:
        running = len(self._threads)
        while running:
            results = self._done.get()
            if results is None:
                running -= 1
            else:
                yield results
        if self._failure is not None:
            where, error = self._failure
            raise RunnerFailed(f"{where}: {describe(error)}") from error

    def _work(self, runner: TrialRunner) -> None:
        try:
            # A simulator's renderer belongs to the thread that opened it, so everything happens in this one.
            runner.connect()
            while not self._no_more.is_set():
                try:
                    trial = self._todo.get_nowait()
                except queue.Empty:
                    break
                self._done.put(runner.drive(trial, self._give_up.is_set))
        except Stopped as stopped:
            for note in getattr(stopped, "__notes__", ()):  # whether the robot holds is unknown
                log.error("%s", note)
        except BaseException as error:  # a driver may fail in any way, SystemExit too; the main thread raises it
            self._failure = self._failure or (runner.stage, contained(error, "A driver or the policy"))
            self._no_more.set()
        finally:
            try:
                runner.close()
            finally:
                self._done.put(None)
