"""A run in the viewer of rerun: what it would show is read back from a file."""

import inspect
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
from collections import defaultdict
from contextlib import suppress
from dataclasses import replace
from functools import partial

import pytest
from rerun.chunk import RrdReader

from forehand.control.chunking import RecedingHorizon
from forehand.errors import ConfigurationError
from forehand.running import BackgroundObserver, ControlLoop, StepObserver, open_rerun
from forehand.running.observers import MAX_BACKLOG, ObserverFailed
from forehand.running.viewer import open_viewer

from .conftest import CONTRACT, Scripted, timetable


def entities(path):
    """Entity path → the steps at which something was logged there."""
    steps = defaultdict(list)
    for chunk in RrdReader(path).stream():
        if "step" in chunk.timeline_names:
            steps[chunk.entity_path.lstrip("/")] += chunk.to_record_batch().column("step").to_pylist()
    return {entity: sorted(found) for entity, found in steps.items()}


def test_a_run_is_shown_step_by_step(ticker, tmp_path):
    path = tmp_path / "run.rrd"
    view = open_rerun(str(path), CONTRACT)
    policy = Scripted(timetable(1))
    with ControlLoop(ticker, policy, RecedingHorizon(), forecast=True, observers=[view]) as drive:
        drive.episode("go", max_steps=4)
        drive.episode("on", max_steps=2)
    view.close()
    shown = entities(path)
    every, moving = [0, 1, 2, 3, 4, 5, 6, 7], [0, 1, 2, 3, 5, 6]
    assert shown["cameras/static/now"] == every
    assert shown["cameras/static/foreseen"] == [1, 2, 3, 4, 6, 7]  # one step ahead, and nothing for an episode's first
    for entity in ("cameras/static/error", "forecast_error/static", "forecast_error/static/nothing_changes"):
        assert shown[entity] == shown["cameras/static/foreseen"]
    assert shown["state/position"] == every
    assert shown["action/motion"] == moving
    for stage in ("observe", "policy", "act", "step"):
        assert shown[f"latency/{stage}"] == moving
    assert shown["events"] == [0, 4, 5, 7]


def test_limits_that_were_hit_are_told_in_words(ticker, tmp_path):
    contract = replace(CONTRACT, action=(replace(CONTRACT.action[0], low=(-1.0,), high=(1.0,)),))
    ticker.contract = contract
    view = open_rerun(str(tmp_path / "run.rrd"), contract)
    with ControlLoop(ticker, Scripted(lambda _: [3.0]), RecedingHorizon(), observers=[view]) as drive:
        drive.episode("go", max_steps=2)
    view.close()
    assert entities(tmp_path / "run.rrd")["events"] == [0, 0, 1, 2]


@pytest.mark.parametrize("where", ["somewhere", "tcp://localhost:1"])
def test_what_is_no_place_to_show_it_is_refused(where):
    with pytest.raises(ConfigurationError, match=r"live is true .* ends in \.rrd"):
        open_rerun(where, CONTRACT)


@pytest.fixture
def opened(monkeypatch):
    """Viewers without a window, which end with the test; a list of (command, process)."""
    found, start = [], subprocess.Popen

    def begin(command, **options):
        found.append((command, start(command, **options, stderr=subprocess.DEVNULL)))
        return found[-1][1]

    monkeypatch.setattr("forehand.running.viewer.COMMAND", (sys.executable, "-m", "rerun_cli", "--serve-grpc"))
    monkeypatch.setattr("forehand.running.viewer.subprocess.Popen", begin)
    yield found
    for _, process in found:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # the command starts the viewer as a process of its own
        process.wait()


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def reachable(host, port):
    try:
        socket.create_connection((host, port), timeout=5).close()
    except OSError:
        return False
    return True


def test_a_viewer_listens_on_loopback_alone_and_one_is_enough(opened, monkeypatch, caplog):
    port = free_port()
    monkeypatch.setattr("forehand.running.rerun_viewer.open_viewer", partial(open_viewer, f"127.0.0.1:{port}"))
    assert inspect.signature(open_viewer).parameters["address"].default.startswith("127.0.0.1:")
    for _ in range(2):
        open_rerun(True, CONTRACT).close()
    assert len(opened) == 1
    assert reachable("127.0.0.1", port)
    assert not reachable("127.0.0.2", port)  # which is another address of this computer
    assert "everyone" not in caplog.text


def test_a_viewer_for_others_is_asked_for_and_warned_of(opened, caplog):
    port = free_port()
    open_rerun(f"0.0.0.0:{port}", CONTRACT).close()
    assert reachable("127.0.0.2", port)
    assert f"the live view at 0.0.0.0:{port} is open to everyone who can reach it" in caplog.text


def test_a_viewer_that_does_not_open_says_what_else_there_is(opened, monkeypatch):
    monkeypatch.setattr("forehand.running.viewer.COMMAND", (sys.executable, "-c", "raise SystemExit(1)"))
    with pytest.raises(ConfigurationError, match=r"did not open at .*rerun=run\.rrd"):
        open_rerun(f"127.0.0.1:{free_port()}", CONTRACT)


def test_without_the_extra_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "rerun", None)
    with pytest.raises(ConfigurationError, match=r"pip install 'forehand\[rerun\]'"):
        open_rerun(True, CONTRACT)


class Stuck(StepObserver):
    def __init__(self):
        self.free, self.seen = threading.Event(), 0

    def on_step(self, step):
        self.free.wait(20)
        self.seen += 1


def test_one_who_may_miss_something_never_keeps_the_robot_waiting():
    stuck = Stuck()
    beside = BackgroundObserver(stuck, "the live view", lossy=True)
    for _ in range(3 * MAX_BACKLOG):
        beside.on_step(None)
    stuck.free.set()
    beside.close()
    assert stuck.seen <= MAX_BACKLOG + 1


def test_one_who_must_see_everything_says_that_it_cannot():
    stuck = Stuck()
    beside = BackgroundObserver(stuck, "the recorder")
    for _ in range(MAX_BACKLOG):
        beside.on_step(None)
    with pytest.raises(ObserverFailed, match="the recorder is 300 steps behind"):
        [beside.on_step(None) for _ in range(2)]
    stuck.free.set()
    beside.close()


def test_a_viewer_that_fails_does_not_end_the_run(ticker, caplog):
    class Failing(StepObserver):
        def on_step(self, step):
            raise OSError("the window was closed")

    with caplog.at_level(logging.WARNING, "forehand"):
        beside = BackgroundObserver(Failing(), "the live view", lossy=True)
        with ControlLoop(ticker, Scripted(timetable(1)), RecedingHorizon(), observers=[beside]) as drive:
            assert drive.episode("go", max_steps=5).steps == 5
        beside.close()
    assert [r.getMessage() for r in caplog.records] == [
        "the live view failed, and the run continues without it: the window was closed"
    ]
