"""Job queue with deadlines for a single worker thread."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from forehand.errors import DeadlineExceeded, ServerStopping

Outcome = dict[str, Any] | Exception


@dataclass(frozen=True, eq=False)
class Job:
    """A request of ``session``; times are ``time.monotonic()``, and ``done`` is called exactly once."""

    name: str
    session: str
    received: float
    deadline: float
    done: Callable[[Outcome], None]

    def is_late(self, now: float) -> bool:
        """Whether its deadline has passed."""
        return self.deadline <= now


class JobQueue[J: Job]:
    """Jobs in order of arrival, without those whose time has run out."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._jobs: list[J] = []
        self._changed = threading.Condition()
        self._closed = False
        self._draining = False

    def __len__(self) -> int:
        return len(self._jobs)

    def submit(self, job: J) -> None:
        """Append; once the queue is closed the job is refused at once."""
        with self._changed:
            if not (self._closed or self._draining):
                self._jobs.append(job)
                self._changed.notify()
                return
        job.done(ServerStopping())

    def take(
        self,
        choose: Callable[[list[J]], list[J]],
        timeout: float | None = None,
        delay: Callable[[list[J]], float] = lambda waiting: 0.0,
    ) -> list[J] | None:
        """The waiting jobs that ``choose`` picks, once there are any; [] after ``timeout`` seconds, None at the end.

        ``delay``: seconds for which the waiting jobs should wait for others.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._jobs or self._closed or self._draining, timeout)
            while self._jobs and not self._draining and (pause := delay(self._jobs)) > 0:
                self._changed.wait(pause)
            if self._closed or (self._draining and not self._jobs):
                return None
            chosen = choose(self._jobs) if self._jobs else []
            self._jobs = [job for job in self._jobs if job not in chosen]
        now = self._clock()
        late = [job for job in chosen if job.is_late(now)]
        for job in late:
            job.done(too_late(job))
        return [job for job in chosen if job not in late]

    def withdraw(self, which: Callable[[J], bool], answer: Callable[[J], Outcome]) -> None:
        """Take ``which`` of the waiting jobs out, and answer them."""
        with self._changed:
            withdrawn = [job for job in self._jobs if which(job)]
            self._jobs = [job for job in self._jobs if job not in withdrawn]
        for job in withdrawn:
            job.done(answer(job))

    def expire(self, now: float) -> None:
        """Answer waiting jobs whose deadline has passed; other threads call it, since the worker may be stuck."""
        self.withdraw(lambda job: job.is_late(now), too_late)

    def drain(self) -> None:
        """Refuse new jobs; waiting ones are still carried out."""
        with self._changed:
            self._draining = True
            self._changed.notify_all()

    def close(self) -> None:
        """Refuse waiting and new jobs."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self.withdraw(lambda job: True, lambda job: ServerStopping())


def too_late(job: Job) -> DeadlineExceeded:
    """The answer to a job that was not started in time."""
    return DeadlineExceeded(
        f"The time for {job.name!r} ran out while it waited for its turn, and it was not carried out. "
        f"Send requests less often, or allow more time."
    )
