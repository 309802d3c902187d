"""Threads that decode, shared by all readers of a process."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from functools import cache
from typing import Any


@cache
def _pool(workers: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(workers, thread_name_prefix="decode")


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pool.cache_clear)  # a forked process has none of its parent's threads


def run_all(
    work: Callable[[Any], object], tasks: Sequence[Any], workers: int, stop: threading.Event | None = None
) -> None:
    """``work(task)`` for every task, in ``workers`` threads; raises the first error once all threads have stopped.

    stop: set where this raises, so that tasks under way end early.
    """
    if workers == 1 or len(tasks) < 2:
        for task in tasks:
            work(task)
        return
    futures = [_pool(workers).submit(work, task) for task in tasks]
    try:
        done, _ = wait(futures, return_when=FIRST_EXCEPTION)
        for future in done:
            future.result()
    except BaseException:
        if stop is not None:
            stop.set()
        for future in futures:
            future.cancel()
        wait(futures)
        raise
