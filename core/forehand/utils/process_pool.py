"""Process pool whose workers each hold a resource of their own, such as a simulator.

A task is one value of a list that all share; a free worker takes the next one. Processes are spawned, because a
simulator's renderer does not survive a fork.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import traceback
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import connection
from typing import Any

from forehand.errors import ForehandError, describe


class Worker[Task, Result](ABC):
    """The work of one process; it is pickled for it, and :meth:`start` is called there first."""

    stage: str = "The equipment could not be set up"
    """What a failure interrupts, for the message about it."""

    @abstractmethod
    def start(self) -> Any:
        """Set up the worker's resource; the result is sent to the main process."""

    @abstractmethod
    def work(self, task: Task, stop: Callable[[], bool]) -> Result | None:
        """Do one task; a result other than None is sent to the main process. ``stop``: whether to end early, if cheap."""

    def close(self) -> None:  # noqa: B027  (not everybody has equipment to put away)
        """Put the equipment away; called once, also after a failure."""


@dataclass(frozen=True)
class _Ready:
    greeting: Any


@dataclass(frozen=True)
class _Done:
    result: Any


@dataclass(frozen=True)
class _Failed:
    reason: str
    traceback: str


class ProcessPool[Task, Result]:
    """``count`` processes that each run ``worker``; raises ``error`` where one of them fails or is killed.

    ::

        with ProcessPool(worker, tasks, 2, error=RecordingFailed) as workers:
            print(workers.ready)
            for result in workers.results(): ...

    Results are yielded as they come.
    """

    def __init__(
        self, worker: Worker[Task, Result], tasks: Sequence[Task], count: int, *, error: type[ForehandError]
    ) -> None:
        self._error = error
        self.ready: list[Any] = []
        """What each :meth:`Worker.start` returned."""
        context = multiprocessing.get_context("spawn")
        self._stop = context.Event()
        self._position = context.Value("q", 0)  # kept, because a spawned process looks for it by name
        self._processes: dict[connection.Connection, Any] = {}
        with _ignore_sigint():
            for number in range(min(count, len(tasks))):
                ours, theirs = context.Pipe()
                arguments = (theirs, worker, tuple(tasks), self._position, self._stop)
                process = context.Process(target=_work, args=arguments, name=f"worker {number + 1}", daemon=True)
                process.start()
                theirs.close()  # so that the end of the process is the end of the pipe
                self._processes[ours] = process

    def __enter__(self) -> ProcessPool[Task, Result]:
        """Wait until all are set up."""
        try:
            for ours in self._processes:
                message = self._receive(ours)
                assert isinstance(message, _Ready)
                self.ready.append(message.greeting)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for ours, process in self._processes.items():
            process.terminate()
            process.join()
            ours.close()

    def results(self) -> Iterator[Result]:
        """Work, and give each result, until all tasks are done or until :meth:`stop`.

        Where one fails the others finish what they have under way; then the error is raised.
        """
        failure: ForehandError | None = None
        for ours in self._processes:
            with suppress(OSError):  # it ended meanwhile, which is handled below
                ours.send("go")
        running = list(self._processes)
        while running:
            for ready in connection.wait(running):
                assert isinstance(ready, connection.Connection)
                try:
                    message = self._receive(ready)
                except EOFError:
                    running.remove(ready)
                except self._error as error:
                    failure = failure or error
                    running.remove(ready)
                    self.stop()
                else:
                    assert isinstance(message, _Done)
                    yield message.result
        if failure is not None:
            raise failure

    def stop(self) -> None:
        """Take no new task; those under way are brought to their end."""
        self._stop.set()

    def _receive(self, ours: connection.Connection) -> Any:
        """The next message; EOFError where the process ended as it should."""
        try:
            message = ours.recv()
        except (EOFError, ConnectionResetError):
            process = self._processes[ours]
            process.join()
            if process.exitcode == 0:
                raise EOFError from None
            raise self._error(
                f"The process {process.name!r} died (exit code {process.exitcode}); is there enough memory for all "
                f"workers?"
            ) from None
        if isinstance(message, _Failed):
            raise self._error(message.reason) from RuntimeError(message.traceback)
        return message


@contextmanager
def _ignore_sigint() -> Iterator[None]:
    """Processes started meanwhile ignore Ctrl-C, which the terminal sends to all: the main process decides about it."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _work(
    ours: connection.Connection, worker: Worker[Any, Any], tasks: tuple[Any, ...], position: Any, stop: Any
) -> None:
    """What each process runs."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_main, daemon=True).start()
    try:
        try:
            ours.send(_Ready(worker.start()))
            ours.recv()
            while not stop.is_set():
                with position.get_lock():
                    taken = position.value
                    position.value += 1
                if taken >= len(tasks):
                    break
                if (result := worker.work(tasks[taken], stop.is_set)) is not None:
                    ours.send(_Done(result))
        finally:
            worker.close()
    except (EOFError, BrokenPipeError):
        pass  # the main process is gone
    except BaseException as error:  # resources fail in many ways, SystemExit among them; the main process raises
        with suppress(OSError):
            ours.send(_Failed(f"{worker.stage}: {describe(error)}", traceback.format_exc()))
    finally:
        ours.close()


def _end_with_main() -> None:
    """Where the main process was killed, end at once: nothing may be done behind the back of the next one."""
    main = multiprocessing.parent_process()
    assert main is not None
    main.join()
    os._exit(1)
