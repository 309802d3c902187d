"""A run in the viewer of rerun: what it would show is read back from a file."""

import logging
import sys
import threading
from collections import defaultdict
from dataclasses import replace

import pytest
from rerun.chunk import RrdReader

from forehand.errors import ConfigurationError
from forehand.execution import RecedingHorizon
from forehand.running import Beside, Drive, Watcher, live_view
from forehand.running.watching import MOST_WAITING, WatcherFailed

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
    view = live_view(str(path), CONTRACT)
    policy = Scripted(timetable(1))
    with Drive(ticker, policy, RecedingHorizon(), forecast=True, watchers=[view]) as drive:
        drive.episode("go", max_steps=4)
        drive.episode("on", max_steps=2)
    view.close()
    shown = entities(path)
    every, moving = [0, 1, 2, 3, 4, 5, 6, 7], [0, 1, 2, 3, 5, 6]
    assert shown["cameras/static/now"] == every
    assert shown["cameras/static/foreseen"] == [1, 2, 3, 4, 6, 7]  # one step ahead, and nothing for an episode's first
    assert shown["state/position"] == every
    assert shown["action/motion"] == moving
    for stage in ("observe", "policy", "act", "step"):
        assert shown[f"latency/{stage}"] == moving
    assert shown["events"] == [0, 4, 5, 7]


def test_limits_that_were_hit_are_told_in_words(ticker, tmp_path):
    contract = replace(CONTRACT, action=(replace(CONTRACT.action[0], low=(-1.0,), high=(1.0,)),))
    ticker.contract = contract
    view = live_view(str(tmp_path / "run.rrd"), contract)
    with Drive(ticker, Scripted(lambda _: [3.0]), RecedingHorizon(), watchers=[view]) as drive:
        drive.episode("go", max_steps=2)
    view.close()
    assert entities(tmp_path / "run.rrd")["events"] == [0, 0, 1, 2]


@pytest.mark.parametrize("where", ["somewhere", "tcp://localhost:1"])
def test_what_is_no_place_to_show_it_is_refused(where):
    with pytest.raises(ConfigurationError, match=r"live is true .* ends in \.rrd"):
        live_view(where, CONTRACT)


def test_without_the_extra_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "rerun", None)
    with pytest.raises(ConfigurationError, match=r"pip install 'forehand\[live\]'"):
        live_view(True, CONTRACT)


class Stuck(Watcher):
    def __init__(self):
        self.free, self.seen = threading.Event(), 0

    def watch(self, moment):
        self.free.wait(20)
        self.seen += 1


def test_one_who_may_miss_something_never_keeps_the_robot_waiting():
    stuck = Stuck()
    beside = Beside(stuck, "the live view", may_miss=True)
    for _ in range(3 * MOST_WAITING):
        beside.watch(None)
    stuck.free.set()
    beside.close()
    assert stuck.seen <= MOST_WAITING + 1


def test_one_who_must_see_everything_says_that_it_cannot():
    stuck = Stuck()
    beside = Beside(stuck, "the recorder")
    for _ in range(MOST_WAITING):
        beside.watch(None)
    with pytest.raises(WatcherFailed, match="the recorder is 300 steps behind"):
        [beside.watch(None) for _ in range(2)]
    stuck.free.set()
    beside.close()


def test_a_viewer_that_fails_does_not_end_the_run(ticker, caplog):
    class Failing(Watcher):
        def watch(self, moment):
            raise OSError("the window was closed")

    with caplog.at_level(logging.WARNING, "forehand"):
        beside = Beside(Failing(), "the live view", may_miss=True)
        with Drive(ticker, Scripted(timetable(1)), RecedingHorizon(), watchers=[beside]) as drive:
            assert drive.episode("go", max_steps=5).steps == 5
        beside.close()
    assert [r.getMessage() for r in caplog.records] == [
        "the live view failed, and the run goes on without it: the window was closed"
    ]
