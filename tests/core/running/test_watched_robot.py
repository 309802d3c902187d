"""A robot in the process of its loop is not at the loop's mercy."""

import threading
import time

import numpy as np
import pytest

from forehand.conformance import assert_robot_conforms
from forehand.errors import ConfigurationError, ContractMismatch, ForehandError
from forehand.execution import RecedingHorizon
from forehand.running import Drive, WatchedRobot, Watcher
from forehand.wire.keeper import RobotStopped

from .conftest import Scripted, Ticker, timetable

STILL = np.zeros(1, np.float32)


def until(true):
    end = time.monotonic() + 20
    while not true():
        assert time.monotonic() < end
        time.sleep(0.005)


@pytest.fixture
def watched(ticker):
    robot = WatchedRobot(ticker, watchdog=0.2, stop=0.4)
    robot.connect()
    yield robot
    robot.close()


def test_it_conforms():
    assert_robot_conforms(lambda: WatchedRobot(Ticker()))


def test_a_loop_that_hangs_makes_it_hold_and_then_stop_until_it_is_reset(ticker, watched):
    ticker.stop = lambda: ticker.calls.append("stop")
    watched.reset()
    watched.act(STILL)
    until(lambda: ticker.calls[-1] == "stop")  # nobody asks anything meanwhile
    assert ticker.calls == ["reset", "act", "hold", "stop"]
    with pytest.raises(RobotStopped, match=r"stopped, since no command came for 0\.6 s\. Look after it, then reset it"):
        watched.act(STILL)
    with pytest.raises(RobotStopped):
        watched.step(STILL)
    watched.observe()
    watched.reset()
    watched.act(STILL)
    assert ticker.calls[4:] == ["reset", "act"]


def test_looking_does_not_keep_it_moving_and_who_says_hold_is_not_stopped(ticker, watched):
    watched.act(STILL)
    until(lambda: watched.observe() and "hold" in ticker.calls)
    watched.act(STILL)
    watched.hold()
    time.sleep(1)
    assert ticker.calls == ["act", "hold", "act", "hold"]


def test_only_one_thread_touches_it_and_it_is_closed_holding(ticker):
    threads = []
    for name in ("connect", "reset", "observe", "act", "hold", "close"):
        real = getattr(ticker, name)
        setattr(ticker, name, lambda *rest, real=real: threads.append(threading.current_thread()) or real(*rest))
    watched = WatchedRobot(ticker, watchdog=60)
    watched.connect()
    watched.reset()
    watched.act(STILL)
    watched.close()
    assert ticker.calls == ["reset", "act", "hold", "close"]
    assert len(set(threads)) == 1
    assert threads[0] is not threading.current_thread()


def test_what_the_robot_raises_is_raised(ticker, watched):
    with pytest.raises(ContractMismatch):
        watched.act(np.zeros(2, np.float32))
    ticker.observe = lambda: 1 / 0
    with pytest.raises(ZeroDivisionError):
        watched.observe()
    unplugged = Ticker()
    unplugged.connect = lambda: (_ for _ in ()).throw(ConfigurationError("plug it in"))
    robot = WatchedRobot(unplugged)
    with pytest.raises(ConfigurationError, match="plug it in"):
        robot.connect()
    with pytest.raises(ForehandError, match=r"not connected; call connect\(\)"):
        robot.observe()


def test_a_drive_that_hangs_in_mid_episode_leaves_a_robot_that_holds(ticker, watched):
    class Hanging(Watcher):
        """Blocks the loop at step 3, until the robot holds."""

        def watch(self, moment):
            if moment.step == 3:
                assert ticker.calls[-1] == "act"
                until(lambda: ticker.calls[-1] == "hold")

    with Drive(watched, Scripted(timetable(1)), RecedingHorizon(), watchers=[Hanging()]) as drive:
        assert drive.episode("go", max_steps=6).reason == "step limit"
    assert ticker.calls.count("act") == 6  # and it went on with the loop
