"""Step observers: callbacks of the control loop, in line or in the background."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial

from forehand.errors import ForehandError
from forehand.running.control_step import Step

log = logging.getLogger(__name__)

MAX_BACKLOG = 300
"""Steps that an observer may be behind: twenty seconds at 15 Hz."""

CLOSE_TIMEOUT = 5.0
"""Seconds to wait for a lossy observer to finish."""


class StepObserver:
    """Callbacks for every step of every episode, in order. Each method may be left as it is."""

    def on_episode_start(self, episode: int, instruction: str) -> None:
        """An episode begins; they are counted from 0."""

    def on_step(self, step: Step) -> None:
        """One control step was done."""

    def on_episode_end(self, ending: str, success: bool | None) -> None:
        """An episode has ended; ``ending``: why; ``success``: whether its task was accomplished, None where unknown."""

    def close(self) -> None:
        """Called once at the end, also after errors."""


class ObserverFailed(ForehandError):
    """An observer that is not lossy could not keep up, or failed."""


class BackgroundObserver(StepObserver):
    """Runs ``observer`` in a thread of its own, so that encoding and drawing never delay the control loop.

    Its errors are raised by the next call; falling ``MAX_BACKLOG`` steps behind raises :class:`ObserverFailed`. A
    ``lossy`` observer neither ends a run nor delays its end: steps that it cannot keep up with are dropped, and its
    errors are logged.
    """

    def __init__(self, observer: StepObserver, name: str, *, lossy: bool = False) -> None:
        self._observer, self._name, self._lossy = observer, name, lossy
        self._work: queue.Queue[Callable[[], None] | None] = queue.Queue(MAX_BACKLOG)
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def on_episode_start(self, episode: int, instruction: str) -> None:
        """Queue the call."""
        self._put(partial(self._observer.on_episode_start, episode, instruction))

    def on_step(self, step: Step) -> None:
        """Queue the call."""
        self._put(partial(self._observer.on_step, step))

    def on_episode_end(self, ending: str, success: bool | None) -> None:
        """Queue the call, and wait for all calls of the episode, since between episodes there is time."""
        self._put(partial(self._observer.on_episode_end, ending, success))
        if not self._lossy:
            self._work.join()
            self._raise_error()

    def close(self) -> None:
        """Wait for queued calls, for at most ``CLOSE_TIMEOUT`` seconds if lossy, then close the observer."""
        patience = CLOSE_TIMEOUT if self._lossy else None
        with suppress(queue.Full):
            self._work.put(None, timeout=patience)
        self._thread.join(patience)
        if not self._thread.is_alive():
            self._observer.close()

    def _put(self, call: Callable[[], None]) -> None:
        self._raise_error()
        try:
            self._work.put_nowait(call)
        except queue.Full:
            if self._lossy:
                return
            raise ObserverFailed(
                f"{self._name} is {MAX_BACKLOG} steps behind the robot: this computer is too slow for it. Use smaller "
                f"images, a faster encoder (video.preset=ultrafast), or leave it out."
            ) from None

    def _raise_error(self) -> None:
        if self._error is not None and not self._lossy:
            error, self._error = self._error, None
            raise error

    def _run(self) -> None:
        while (call := self._work.get()) is not None:
            try:
                if self._error is None:
                    call()
            except Exception as error:  # raised by the next call, in the robot's thread
                self._error = error
                if self._lossy:
                    log.warning("%s failed, and the run continues without it: %s", self._name, error)
            finally:
                self._work.task_done()
