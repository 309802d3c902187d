"""Signal handling: SIGTERM and Ctrl-C as a request to stop, and the signals of clusters that take a computer away."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

REQUESTS = (signal.SIGTERM, signal.SIGINT)

PREEMPTIONS = tuple(getattr(signal, name) for name in ("SIGUSR1", "SIGUSR2") if hasattr(signal, name))
"""What clusters send before they take the computer away; none on Windows."""


@contextmanager
def handled_by(handle: Callable[[int, object], None], numbers: Sequence[int]) -> Iterator[dict[int, Any]]:
    """In the main thread: ``handle`` is called for the signals ``numbers``, with the number and the frame.

    Yields the handlers from before, by number; nothing in other threads, where no signal is handled.
    """
    before: dict[int, Any] = {}
    if threading.current_thread() is threading.main_thread():
        before = {number: signal.signal(number, handle) or signal.SIG_DFL for number in numbers}
    try:
        yield before
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def stopped_by_signals(stop: Callable[[], None], forced_by: Sequence[int] = REQUESTS) -> Iterator[None]:
    """In the main thread: the first SIGTERM or Ctrl-C calls ``stop``, as does a signal of :data:`PREEMPTIONS`.

    After it, signals in ``forced_by`` do what they did before; the others call ``stop`` again. A preemption is only put
    off: when the body has ended, its signal is raised again, for the handler from before.
    """
    before: dict[int, Any] = {}
    put_off: list[int] = []

    def handle(number: int, frame: object) -> None:
        for forced in forced_by:
            if forced in before:
                signal.signal(forced, before[forced])
        if number in PREEMPTIONS:
            put_off.append(number)
        stop()

    try:
        with handled_by(handle, (*REQUESTS, *PREEMPTIONS)) as handlers:
            before.update(handlers)
            yield
    finally:
        if put_off:
            signal.raise_signal(put_off[0])


@contextmanager
def stop_event(forced_by: Sequence[int] = REQUESTS) -> Iterator[threading.Event]:
    """An event that SIGTERM and Ctrl-C set, as :func:`stopped_by_signals` says."""
    stop = threading.Event()
    with stopped_by_signals(stop.set, forced_by):
        yield stop
