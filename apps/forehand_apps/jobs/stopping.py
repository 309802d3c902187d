"""Stopping a sweep whose jobs run side by side in processes of this computer.

Their launcher kills the processes of all jobs as soon as it, or one of them, is interrupted. So an interruption does not
reach it: the jobs themselves are asked to stop, and save what they have done. A mark in the sweep's folder keeps those
that wait from beginning.
"""

from __future__ import annotations

import os
import platform
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from forehand.utils.signals import PREEMPTIONS, REQUESTS, handled_by
from forehand_apps.jobs.records import is_running, read_job

MARK = ".stopping"


def is_stopping(folder: Path) -> bool:
    """Whether the sweep in ``folder`` is being stopped."""
    return (folder / MARK).exists()


def clear(folder: Path) -> None:
    """Let jobs of the sweep in ``folder`` begin again."""
    (folder / MARK).unlink(missing_ok=True)


@contextmanager
def passed_on(folder: Path, jobs: Sequence[Path]) -> Iterator[list[int]]:
    """In the body, SIGTERM, Ctrl-C and preemptions stop the ``jobs`` of the sweep in ``folder``; yields those received.

    jobs: their folders. Ctrl-C reaches their processes from the terminal, and a second one is passed on. The body is
    left when all have stopped.
    """
    received: list[int] = []

    def pass_on(number: int, frame: object) -> None:
        (folder / MARK).touch()
        if number != signal.SIGINT or number in received:
            for process in _processes(jobs):
                with suppress(ProcessLookupError):
                    os.kill(process, signal.SIGTERM)
        received.append(number)

    try:
        with handled_by(pass_on, (*REQUESTS, *PREEMPTIONS)):
            yield received
    finally:
        clear(folder)


def _processes(jobs: Sequence[Path]) -> set[int]:
    """The processes of this computer that carry out jobs now."""
    records = (read_job(job) for job in jobs if is_running(job))
    return {record.process for record in records if record is not None and record.host == platform.node()}
