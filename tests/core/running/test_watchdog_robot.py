"""A robot in the process of its loop is not at the loop's mercy."""

import threading
import time

import numpy as np
import pytest

from forehand.conformance import assert_robot_conforms
from forehand.control.chunking import RecedingHorizon
from forehand.control.rest import HoldUnknown
from forehand.errors import ConfigurationError, ContractMismatch, ForehandError, PartFailed, RobotStopped
from forehand.running import ControlLoop, StepObserver, WatchdogRobot

from .conftest import Scripted, Ticker, timetable

STILL = np.zeros(1, np.float32)


def until(true):
    end = time.monotonic() + 60
    while not true():
        assert time.monotonic() < end
        time.sleep(0.005)


@pytest.fixture
def clock():
    """The watchdog's seconds, which pass only when a test says so: a list of one number."""
    return [100.0]


@pytest.fixture
def watched(ticker, clock):
    robot = WatchdogRobot(ticker, watchdog=0.2, stop=0.4, clock=lambda: clock[0])
    robot.connect()
    yield robot
    robot.close()


def test_it_conforms():
    assert_robot_conforms(lambda: WatchdogRobot(Ticker()))


def test_a_loop_that_hangs_makes_it_hold_and_then_stop_until_it_is_reset(ticker, watched, clock):
    ticker.stop = lambda: ticker.calls.append("stop")
    watched.reset()
    watched.act(STILL)
    clock[0] += 0.19
    watched.observe()
    assert ticker.calls == ["reset", "act"]
    clock[0] += 0.02
    until(lambda: ticker.calls[-1] == "hold")  # nothing is asked of it meanwhile
    clock[0] += 0.4
    until(lambda: ticker.calls[-1] == "stop")
    assert ticker.calls == ["reset", "act", "hold", "stop"]
    with pytest.raises(RobotStopped, match=r"stopped, since no command came for 0\.6 s\. Look after it, then reset it"):
        watched.act(STILL)
    with pytest.raises(RobotStopped):
        watched.step(STILL)
    watched.observe()
    watched.reset()
    watched.act(STILL)
    assert ticker.calls[4:] == ["reset", "act"]


def test_a_robot_that_is_stopped_moves_no_more_until_it_is_reset(ticker, watched):
    ticker.stop = lambda: ticker.calls.append("stop")
    watched.act(STILL)
    watched.stop()
    with pytest.raises(RobotStopped, match="stopped, on request"):
        watched.act(STILL)
    watched.hold()
    assert ticker.calls[-1] == "stop"
    watched.reset()
    watched.act(STILL)


def test_looking_does_not_keep_it_moving_and_who_says_hold_is_not_stopped(ticker, watched, clock):
    watched.act(STILL)
    for _ in range(3):
        clock[0] += 0.1
        watched.observe()
    watched.observe()  # the watchdog is looked after between two calls
    assert ticker.calls == ["act", "hold"]
    watched.act(STILL)
    watched.hold()
    clock[0] += 1000
    for _ in range(2):
        watched.observe()
    assert ticker.calls == ["act", "hold", "act", "hold"]


def test_only_one_thread_touches_it_and_it_is_closed_holding(ticker):
    threads = []
    for name in ("connect", "reset", "observe", "act", "hold", "close"):
        real = getattr(ticker, name)
        setattr(ticker, name, lambda *rest, real=real: threads.append(threading.current_thread()) or real(*rest))
    watched = WatchdogRobot(ticker, watchdog=60)
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
    robot = WatchdogRobot(unplugged)
    with pytest.raises(ConfigurationError, match="plug it in"):
        robot.connect()
    with pytest.raises(ForehandError, match=r"not connected; call connect\(\)"):
        robot.observe()


def test_a_drive_that_hangs_in_mid_episode_leaves_a_robot_that_holds(ticker, watched, clock):
    class Hanging(StepObserver):
        """Blocks the loop at step 3, until the robot holds."""

        def on_step(self, step):
            if step.step == 3:
                assert ticker.calls[-1] == "act"
                clock[0] += 0.3
                until(lambda: ticker.calls[-1] == "hold")

    with ControlLoop(watched, Scripted(timetable(1)), RecedingHorizon(), observers=[Hanging()]) as drive:
        assert drive.episode("go", max_steps=6).reason == "step limit"
    assert ticker.calls.count("act") == 6  # and it went on with the loop


@pytest.mark.parametrize("method", ["act", "observe"])
def test_a_driver_that_hangs_is_named_and_the_end_does_not_wait_for_it(ticker, method, caplog, monkeypatch):
    monkeypatch.setattr("forehand.control.watchdog_robot.RETURN_TIMEOUT", 0.3)
    released = threading.Event()
    real = getattr(ticker, method)
    setattr(ticker, method, lambda *rest: released.wait(60) and real(*rest))
    robot = WatchdogRobot(ticker, watchdog=0.1)
    robot.connect()
    asked = threading.Thread(target=lambda: robot.act(STILL) if method == "act" else robot.observe(), daemon=True)
    asked.start()
    until(lambda: f"the robot's {method}() has not returned for" in caplog.text)
    with pytest.raises(HoldUnknown, match=r"not returned for .* s: whether it holds is unknown"):
        robot.hold()
    with pytest.raises(HoldUnknown, match="not brought to rest"):
        robot.close()
    assert caplog.text.count("has not returned") == 1
    released.set()
    asked.join()
    until(lambda: ticker.calls[-1] == "close")  # and what it was asked for is done once it returns
    assert ("hold" in ticker.calls) == (method == "act")


class NoException(BaseException):
    """As some bindings raise it for a panic."""


@pytest.mark.parametrize("leaving", [SystemExit(0), KeyboardInterrupt(), NoException("panic")])
def test_a_driver_that_would_end_its_thread_fails_and_is_let_hold_all_the_same(ticker, watched, clock, leaving):
    def leave(action):
        raise leaving

    ticker.act = leave
    with pytest.raises(PartFailed, match=rf"The robot's act\(\) failed with {type(leaving).__name__}"):
        watched.act(STILL)
    assert ticker.calls[-1] == "hold"  # by its limits
    count = len(ticker.calls)
    clock[0] += 0.21
    until(lambda: ticker.calls[count:] == ["hold"])  # by the watchdog
    watched.observe()


def test_a_driver_that_would_end_its_thread_while_it_holds_is_let_hold_again(ticker, watched, clock):
    def leave():
        ticker.hold = lambda: ticker.calls.append("hold")
        raise SystemExit(0)

    ticker.hold = leave
    watched.act(STILL)
    clock[0] += 0.21
    until(lambda: ticker.hold is not leave)
    watched.observe()
    clock[0] += 0.21
    until(lambda: ticker.calls[-1] == "hold")


def test_a_driver_that_would_end_its_thread_is_not_connected(ticker):
    def leave():
        raise SystemExit(0)

    ticker.connect = leave
    with pytest.raises(PartFailed, match=r"The robot's connect\(\) failed with SystemExit: 0"):
        WatchdogRobot(ticker).connect()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_robot_whose_thread_ended_answers_at_once(ticker, watched, monkeypatch):
    def leave(thread, command):
        raise SystemExit(0)

    monkeypatch.setattr("forehand.control.robot_thread.RobotThread._carry_out", leave)
    with pytest.raises(HoldUnknown, match="thread ended: whether the robot holds is unknown"):
        watched.observe()


def test_a_robot_that_does_not_hold_is_not_closed_in_silence(ticker, watched):
    ticker.hold = lambda: 1 / 0
    watched.act(STILL)
    with pytest.raises(HoldUnknown, match="whether it holds is unknown"):
        watched.close()
