"""Signal handling: SIGTERM and Ctrl-C as a request to stop."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

REQUESTS = (signal.SIGTERM, signal.SIGINT)


@contextmanager
def stopped_by_signals(stop: Callable[[], None], forced_by: Sequence[int] = REQUESTS) -> Iterator[None]:
    """In the main thread: the first SIGTERM or Ctrl-C calls ``stop``.

    After it, signals in ``forced_by`` do what they did before; the others call ``stop`` again.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before: dict[int, Any] = {}

    def restore(numbers: Sequence[int]) -> None:
        for number in numbers:
            if number in before:
                signal.signal(number, before.pop(number))

    def handle(number: int, frame: object) -> None:
        restore(forced_by)
        stop()

    for number in REQUESTS:
        before[number] = signal.signal(number, handle) or signal.SIG_DFL
    try:
        yield
    finally:
        restore(REQUESTS)


@contextmanager
def stop_event(forced_by: Sequence[int] = REQUESTS) -> Iterator[threading.Event]:
    """An event that SIGTERM and Ctrl-C set, as :func:`stopped_by_signals` says."""
    stop = threading.Event()
    with stopped_by_signals(stop.set, forced_by):
        yield stop
