"""Who drives trials side by side: robots in threads of this process, or simulators in processes of their own."""

from __future__ import annotations

import queue
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager

from forehand.errors import ConfigurationError, ForehandError
from forehand.execution import Execution, RecedingHorizon
from forehand.policy import Policy, Prediction, Session
from forehand.results import EpisodeResult
from forehand.robot import Observation, Robot
from forehand.rollout import Stopped
from forehand.trials import Driver, Trial
from forehand.workers import Worker, Workers


class CrewFailed(ForehandError):
    """A robot or a policy failed; says what that interrupted."""


class Crew(ABC):
    """Drives trials, several at once; what comes of a trial does not depend on how many there are."""

    @abstractmethod
    def driving(self, trials: Sequence[Trial]) -> AbstractContextManager[Iterator[list[EpisodeResult]]]:
        """The results of each trial as it finishes; at the end of the block every robot has stopped and is closed.

        Where a robot fails the others finish their trials, then :class:`CrewFailed` is raised. Leaving the block early
        gives up those under way.
        """


class ThreadCrew(Crew):
    """Robots that are driven by a thread each: bodies, remote ones, or one simulator.

    policy: one for all (robots take turns at it), or one for each of them. Of robots none is connected yet.
    """

    def __init__(
        self,
        policy: Policy | Sequence[Policy],
        robots: Sequence[Robot],
        execution: Callable[[], Execution] = RecedingHorizon,
    ) -> None:
        if not robots:
            raise ConfigurationError("An evaluation needs at least one robot.")
        policies = [policy] * len(robots) if isinstance(policy, Policy) else list(policy)
        if len(policies) != len(robots):
            raise ConfigurationError(f"{len(robots)} robots need one policy, or one each; not {len(policies)}.")
        locks: dict[int, threading.Lock] = {}
        self._drivers = []
        for number, (robot, one) in enumerate(zip(robots, policies, strict=True), start=1):
            shared = _TakingTurns(one, locks.setdefault(id(one), threading.Lock()))
            name = f"Robot {number} of {len(robots)}" if len(robots) > 1 else "The robot"
            self._drivers.append(Driver(shared, robot, execution, name))

    @contextmanager
    def driving(self, trials: Sequence[Trial]) -> Iterator[Iterator[list[EpisodeResult]]]:
        threads = _Threads(self._drivers, trials)
        try:
            yield threads.results()
        finally:
            threads.end()


class ProcessCrew(Crew):
    """``workers`` processes, each with a driver that ``equip`` makes there.

    ``equip`` is pickled on its way: a function of a module, or a :func:`functools.partial` of one.
    """

    def __init__(self, equip: Callable[[], Driver], workers: int) -> None:
        self._equip, self._workers = equip, workers

    @contextmanager
    def driving(self, trials: Sequence[Trial]) -> Iterator[Iterator[list[EpisodeResult]]]:
        with Workers(_Process(self._equip), trials, self._workers, error=CrewFailed) as workers:
            yield workers.results()


class _Process(Worker[Trial, list[EpisodeResult]]):
    def __init__(self, equip: Callable[[], Driver]) -> None:
        self._equip = equip
        self._driver: Driver | None = None

    def start(self) -> None:
        self._driver = self._equip()
        try:
            self._driver.connect()
        finally:
            self.doing = self._driver.doing

    def work(self, task: Trial, stop: Callable[[], bool]) -> list[EpisodeResult]:
        assert self._driver is not None
        try:
            return self._driver.drive(task)
        finally:
            self.doing = self._driver.doing

    def close(self) -> None:
        if self._driver is not None:
            self._driver.close()


class _TakingTurns(Policy):
    """A policy that several robots share, asked by one at a time: weights need not be safe to use from many threads."""

    def __init__(self, policy: Policy, lock: threading.Lock) -> None:
        self.policy, self.lock = policy, lock
        self.contract, self.history = policy.contract, policy.history

    def open(self, instruction: str) -> Session:
        with self.lock:
            return self.policy.open(instruction)

    def step(
        self, sessions: Sequence[Session], observations: Sequence[Observation], *, forecast: bool = False
    ) -> list[Prediction]:
        with self.lock:
            return self.policy.step(sessions, observations, forecast=forecast)

    def remember(self, session: Session, observations: Sequence[Observation]) -> None:
        with self.lock:
            self.policy.remember(session, observations)


class _Threads:
    """One thread for each driver, at work from the beginning."""

    def __init__(self, drivers: Sequence[Driver], trials: Sequence[Trial]) -> None:
        self._failure: tuple[str, Exception] | None = None
        self._todo: queue.SimpleQueue[Trial] = queue.SimpleQueue()
        for trial in trials:
            self._todo.put(trial)
        self._done: queue.SimpleQueue[list[EpisodeResult] | None] = queue.SimpleQueue()
        self._no_more = threading.Event()  # take no new trial
        self._give_up = threading.Event()  # and leave the running one
        self._threads = [threading.Thread(target=self._work, args=(driver,), daemon=True) for driver in drivers]
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
            what = str(error) if isinstance(error, ForehandError) else f"{type(error).__name__}: {error}"
            raise CrewFailed(f"{where}: {what}") from error

    def _work(self, driver: Driver) -> None:
        try:
            # A simulator's renderer belongs to the thread that opened it, so everything happens in this one.
            driver.connect()
            while not self._no_more.is_set():
                try:
                    trial = self._todo.get_nowait()
                except queue.Empty:
                    break
                self._done.put(driver.drive(trial, self._give_up.is_set))
        except Stopped:
            pass
        except Exception as error:  # a driver may fail in any way; the main thread tells it
            self._failure = self._failure or (driver.doing, error)
            self._no_more.set()
        finally:
            driver.close()
            self._done.put(None)
