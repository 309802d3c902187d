"""Steps of a command: a signal to stop reaches the step once, and the step may take its time to stop."""

import os
import signal
import sys
import threading
import time

import pytest

from forehand_apps.cli import steps
from forehand_apps.cli.preemption import Preempted
from forehand_apps.cli.steps import StepFailed, run_step

STEP = """
import os, pathlib, signal, sys, time
received, here = [], pathlib.Path(sys.argv[1])
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
    signal.signal(number, lambda number, frame: received.append(number))
(here / "partial").write_text(str(os.getpid()))
(here / "partial").rename(here / "ready")
while not received:
    time.sleep(0.01)
time.sleep(0.7)  # longer than Python's own patience with children on Ctrl-C
(here / "saved").write_text(" ".join(str(int(number)) for number in received))
sys.exit(int(sys.argv[2]))
"""


@pytest.fixture
def step(monkeypatch, tmp_path):
    """Run a step that ends with a status; ``send`` is called with its process's number when it waits to be stopped."""

    def send_when_ready(send):
        ready = tmp_path / "ready"
        while not ready.exists():
            time.sleep(0.01)
        send(int(ready.read_text()))

    def run(status, send):
        monkeypatch.setattr(
            steps, "step_arguments", lambda words: [sys.executable, "-c", STEP, str(tmp_path), str(status)]
        )
        thread = threading.Thread(target=send_when_ready, args=[send])
        thread.start()
        try:
            run_step(["record"], "Again.")
        finally:
            thread.join()

    return run


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "status", "raised"),
    [(signal.SIGTERM, 130, KeyboardInterrupt), (signal.SIGUSR1, 75, Preempted), (signal.SIGTERM, 1, KeyboardInterrupt)],
)
def test_a_signal_is_passed_on_and_the_step_is_waited_for(step, tmp_path, number, status, raised):
    with pytest.raises(raised, match="Again"):
        step(status, lambda child: os.kill(os.getpid(), number))
    assert (tmp_path / "saved").read_text() == str(int(number))


@pytest.mark.slow
def test_ctrl_c_of_a_terminal_reaches_the_step_once(step, tmp_path):
    def terminal(child):
        for process in (os.getpid(), child):
            os.kill(process, signal.SIGINT)

    with pytest.raises(KeyboardInterrupt, match="Again"):
        step(130, terminal)
    assert (tmp_path / "saved").read_text() == str(int(signal.SIGINT))


@pytest.mark.slow
def test_a_step_that_fails_unasked_is_a_failure(step):
    with pytest.raises(StepFailed, match="status 3"):
        step(3, lambda child: os.kill(child, signal.SIGTERM))
