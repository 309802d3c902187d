"""Those who look on while a robot is driven."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial

from forehand.errors import ForehandError
from forehand.rollout import Moment

log = logging.getLogger(__name__)

MOST_WAITING = 300
"""Moments that a watcher may be behind: twenty seconds at 15 Hz."""

GRACE = 5.0
"""Seconds for one who may miss something to come to an end."""


class Watcher:
    """Sees every moment of every episode, in order. Each method may be left as it is."""

    def begin(self, episode: int, instruction: str) -> None:
        """An episode begins; they are counted from 0."""

    def watch(self, moment: Moment) -> None:
        """One control step was done."""

    def end(self, ending: str, success: bool | None) -> None:
        """The episode is over: why, and whether its task was accomplished (None: nobody can tell)."""

    def close(self) -> None:
        """Nothing more will happen. Comes once, whatever else failed."""


class WatcherFailed(ForehandError):
    """Someone who was to see everything could not keep up, or failed."""


class Beside(Watcher):
    """Lets ``watcher`` look on from a thread of its own, so that encoding and drawing never keep the loop waiting.

    What it raises is raised by the next call. Falling ``MOST_WAITING`` moments behind is :class:`WatcherFailed`. One who
    ``may_miss`` something neither ends a run nor waits: what it cannot keep up with is left out, a failure is logged.
    """

    def __init__(self, watcher: Watcher, name: str, *, may_miss: bool = False) -> None:
        self._watcher, self._name, self._may_miss = watcher, name, may_miss
        self._work: queue.Queue[Callable[[], None] | None] = queue.Queue(MOST_WAITING)
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def begin(self, episode: int, instruction: str) -> None:
        """Hand it on."""
        self._put(partial(self._watcher.begin, episode, instruction))

    def watch(self, moment: Moment) -> None:
        """Hand it on."""
        self._put(partial(self._watcher.watch, moment))

    def end(self, ending: str, success: bool | None) -> None:
        """Hand it on, and wait until all of the episode has been seen: between episodes there is time."""
        self._put(partial(self._watcher.end, ending, success))
        if not self._may_miss:
            self._work.join()
            self._complain()

    def close(self) -> None:
        """Wait for what is under way, then let the watcher close; one who may miss something is not waited for long."""
        patience = GRACE if self._may_miss else None
        with suppress(queue.Full):
            self._work.put(None, timeout=patience)
        self._thread.join(patience)
        if not self._thread.is_alive():
            self._watcher.close()

    def _put(self, call: Callable[[], None]) -> None:
        self._complain()
        try:
            self._work.put_nowait(call)
        except queue.Full:
            if self._may_miss:
                return
            raise WatcherFailed(
                f"{self._name} is {MOST_WAITING} steps behind the robot: this computer is too slow for it. Use smaller "
                f"images, a faster encoder (video.preset=ultrafast), or leave it out."
            ) from None

    def _complain(self) -> None:
        if self._error is not None and not self._may_miss:
            error, self._error = self._error, None
            raise error

    def _run(self) -> None:
        while (call := self._work.get()) is not None:
            try:
                if self._error is None:
                    call()
            except Exception as error:  # told by the next call, in the thread of the robot
                self._error = error
                if self._may_miss:
                    log.warning("%s failed, and the run goes on without it: %s", self._name, error)
            finally:
                self._work.task_done()
