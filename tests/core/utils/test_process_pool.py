"""Processes that share a list of tasks, and whose failures are raised in the main one."""

import multiprocessing
import threading

import pytest

from forehand.utils import process_pool
from forehand.utils.process_pool import Worker


class Leaving(Worker):
    """Ends its process as an SDK does that calls sys.exit."""

    stage = "The task was interrupted"

    def start(self):
        return None

    def work(self, task, stop):
        raise task


@pytest.mark.parametrize("leaving", [SystemExit(0), KeyboardInterrupt()])
def test_a_worker_that_would_end_its_process_reports_it_first(leaving, monkeypatch):
    monkeypatch.setattr(process_pool.signal, "signal", lambda *_: None)  # here it is no process of its own
    monkeypatch.setattr(process_pool, "_end_with_main", lambda: None)
    ours, theirs = multiprocessing.Pipe()
    ours.send("go")
    process_pool._work(theirs, Leaving(), (leaving,), multiprocessing.Value("q", 0), threading.Event())
    ours.recv()  # that it is ready
    assert ours.recv().reason.startswith(f"The task was interrupted: {type(leaving).__name__}")
