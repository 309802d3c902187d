"""Progress of long work: a bar on a terminal, periodic lines with the remaining time in a log."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

EVERY = 10.0
"""Seconds between lines of a log."""

Show = Callable[..., None]
"""``show(completed, words="")``: how much is done, with a text beside it."""


@contextmanager
def progress(
    what: str,
    total: int,
    *,
    done: int = 0,
    console: Console | None = None,
    transient: bool = False,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[Show]:
    """Progress display of ``what`` from ``done`` to ``total``, on standard error unless ``console`` is another.

    transient: the bar vanishes at the end, and a log has no line of work that is over within :data:`EVERY` seconds.
    clock: seconds, for lines of a log.
    """
    console = console or Console(stderr=True)
    if not console.is_terminal:
        yield _lines(what, total, done, console, transient, clock)
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[words]}"))
    with Progress(*columns, TimeElapsedColumn(), TimeRemainingColumn(), console=console, transient=transient) as bar:
        task = bar.add_task(escape(what), total=total, completed=done, words="")
        yield lambda completed, words="": bar.update(task, completed=completed, words=escape(words))


def _lines(what: str, total: int, done: int, console: Console, transient: bool, clock: Callable[[], float]) -> Show:
    start = last = clock()

    def show(completed: int, words: str = "") -> None:
        nonlocal last
        now = clock()
        at_end = completed >= total and not (transient and last == start)
        if now - last < EVERY and not at_end:
            return
        last = now
        share = f" ({100 * completed // total} %)" if total else ""
        beside = f", {words}" if words else ""
        left = (now - start) / (completed - done) * (total - completed) if completed > done else None
        ahead = f", {_clock(left)} left" if left is not None and completed < total else ""
        line = f"{what}: {completed} of {total}{share}{beside}, {_clock(now - start)} gone{ahead}"
        console.print(line, markup=False, highlight=False, soft_wrap=True)

    return show


def _clock(seconds: float) -> str:
    """Hours, minutes and seconds."""
    return str(timedelta(seconds=round(seconds)))
