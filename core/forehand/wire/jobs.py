"""Work waiting for the one thread that may do it, with deadlines."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from forehand.wire.convert import Payload
from forehand.wire.errors import DeadlineExceeded, stopping

Outcome = Payload | Exception


@dataclass(frozen=True, eq=False)
class Job:
    """Something to do for ``session``; times are ``time.monotonic()``, and ``done`` is called exactly once."""

    name: str
    session: str
    received: float
    deadline: float
    done: Callable[[Outcome], None]


class JobQueue[J: Job]:
    """First come, first served, among those whose time has not run out."""

    def __init__(self) -> None:
        self._jobs: list[J] = []
        self._changed = threading.Condition()
        self._closed = False
        self._draining = False

    def __len__(self) -> int:
        return len(self._jobs)

    def put(self, job: J) -> None:
        """Line up; once the queue is closed the job is refused at once."""
        with self._changed:
            if not (self._closed or self._draining):
                self._jobs.append(job)
                self._changed.notify()
                return
        job.done(stopping())

    def take(
        self,
        choose: Callable[[list[J]], list[J]],
        timeout: float | None = None,
        patience: Callable[[list[J]], float] = lambda waiting: 0.0,
    ) -> list[J] | None:
        """What ``choose`` picks of the waiting jobs once there are any; [] after ``timeout`` seconds, None at the end.

        ``patience``: seconds for which these jobs had better wait for others.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._jobs or self._closed or self._draining, timeout)
            while self._jobs and not self._draining and (pause := patience(self._jobs)) > 0:
                self._changed.wait(pause)
            if self._closed or (self._draining and not self._jobs):
                return None
            chosen = choose(self._jobs) if self._jobs else []
            self._jobs = [job for job in self._jobs if job not in chosen]
        now = time.monotonic()
        late = [job for job in chosen if job.deadline <= now]
        for job in late:
            job.done(_too_late(job))
        return [job for job in chosen if job not in late]

    def expire(self, now: float) -> None:
        """Answer those whose time ran out while they waited, even when the thread that should work is stuck."""
        with self._changed:
            late = [job for job in self._jobs if job.deadline <= now]
            self._jobs = [job for job in self._jobs if job not in late]
        for job in late:
            job.done(_too_late(job))

    def drain(self) -> None:
        """Refuse everything that comes; what waits is still to be done."""
        with self._changed:
            self._draining = True
            self._changed.notify_all()

    def close(self) -> None:
        """Refuse what still waits, and everything that comes."""
        with self._changed:
            self._closed = True
            refused, self._jobs = self._jobs, []
            self._changed.notify_all()
        for job in refused:
            job.done(stopping())


def _too_late(job: Job) -> DeadlineExceeded:
    return DeadlineExceeded(
        f"The time for {job.name!r} ran out while it waited for its turn, and it was not carried out. "
        f"Ask less often, or allow it more time."
    )
