"""What a robot host promises: one client at a time, nothing late and nothing wrong moves, and silence means hold."""

from __future__ import annotations

import math
import threading
import time

import numpy as np
import pytest

from forehand import Robot
from forehand.control.robot_thread import Command, RobotThread
from forehand.errors import ConfigurationError, ContractMismatch
from forehand.wire import RobotHost
from forehand.wire.metrics import PrometheusMetrics
from forehand.wire.serialize import observation_to_payload

from .conftest import read_metrics


class Recorder(Robot):
    """A robot that writes down what was asked of it, and by which thread."""

    def __init__(self, contract, sense):
        self.contract, self.sense = contract, sense
        self.asked: list[str] = []
        self.threads: set[int] = set()
        self.held, self.acting, self.may_finish = threading.Event(), threading.Event(), threading.Event()
        self.may_finish.set()
        self.failure: Exception | None = None

    def note(self, what):
        self.asked.append(what)
        self.threads.add(threading.get_ident())

    def connect(self):
        self.note("connect")
        if self.failure:
            raise self.failure

    def reset(self, episode=None):
        self.note(f"reset {episode.task if episode else None}")
        return self.sense(0)

    def observe(self):
        self.note("observe")
        return self.sense(len(self.asked))

    def act(self, action):
        self.note(f"act {action[0]:g}")
        self.acting.set()
        assert self.may_finish.wait(60)
        if self.failure:
            raise self.failure
        return np.clip(action, -1, 1)

    def hold(self):
        self.note("hold")
        self.held.set()

    def close(self):
        self.note("close")


@pytest.fixture
def robot(contract, sense):
    robot = Recorder(contract, sense)
    yield robot
    robot.may_finish.set()


def open_session(client, id=1):
    client.ask("hello", id, {"contract": None})
    return client.ask("open", id + 1).payload["session"]


AT_ANY_TIME = {"begin_by": 1e12}
"""A motion without it is refused after a moment in which the host got no processor, since its age is unknown."""


def command(number):
    return {"action": np.full(7, number, np.float32), **AT_ANY_TIME}


def test_commands_reach_the_robot_and_its_answers_come_back(robot, raw, sense):
    with RobotHost(robot, "tcp://127.0.0.1:0", watchdog=60).running() as host:
        client = raw(host.address)
        hello = client.ask("hello", 1, {"contract": None})
        assert hello.payload["role"] == "robot"
        assert hello.payload["facts"] == {"robot": "Recorder"}
        session = client.ask("open", 2).payload["session"]
        episode = {"task": "lift", "instruction": "lift it", "seed": 3, "max_steps": 9, "options": {}}
        first = client.ask("reset", 3, {"episode": episode, **AT_ANY_TIME}, session).payload["observation"]
        np.testing.assert_array_equal(first["images"]["wrist"], observation_to_payload(sense(0))["images"]["wrist"])
        np.testing.assert_array_equal(client.ask("act", 4, command(2), session).payload["commanded"], np.ones(7))
        client.ask("observe", 5, {}, session)
        assert "observation" in client.ask("step", 6, command(0.5), session).payload
        client.ask("hold", 7, {}, session)
        client.ask("close", 8, {}, session)
    assert robot.asked == ["connect", "reset lift", "act 1", "observe", "act 0.5", "observe", "hold", "hold", "close"]
    assert len(robot.threads) == 1


@pytest.mark.slow
def test_silence_after_an_action_makes_the_robot_hold_once(robot, raw):
    with RobotHost(robot, "tcp://127.0.0.1:0", watchdog=0.2).running() as host:
        client = raw(host.address)
        session = open_session(client)
        time.sleep(0.4)
        assert "hold" not in robot.asked  # nothing has moved yet
        client.ask("act", 3, command(0), session)
        assert robot.held.wait(20)
        time.sleep(0.4)
        assert robot.asked.count("hold") == 1
        client.ask("act", 4, command(1), session)  # and it goes on when the client does
        assert "act 1" in robot.asked


def test_a_robot_that_fails_to_hold_is_not_at_rest(robot, raw, caplog):
    robot.hold = lambda: 1 / 0
    with RobotHost(robot, "tcp://127.0.0.1:0", watchdog=60).running() as host:
        client = raw(host.address)
        client.ask("act", 3, command(0), open_session(client))
    assert not host.at_rest
    assert "failed to hold, whether it moves is unknown" in caplog.text


def test_a_robot_that_does_not_return_is_named(robot, raw, caplog):
    robot.may_finish.clear()
    with RobotHost(robot, "tcp://127.0.0.1:0", watchdog=0.1).running() as host:
        client = raw(host.address)
        session = open_session(client)
        client.send("act", 3, command(0), session)
        end = time.monotonic() + 20
        while "the robot's act() has not returned for" not in caplog.text:
            assert time.monotonic() < end
            time.sleep(0.01)
        assert not host.at_rest
        robot.may_finish.set()
    assert host.at_rest


def test_silence_that_lasts_stops_the_robot_until_it_is_reset(robot, raw):
    stopped = threading.Event()
    robot.stop = lambda: (robot.note("stop"), stopped.set())
    with RobotHost(robot, "tcp://127.0.0.1:0", watchdog=0.1, stop=0.3).running() as host:
        client = raw(host.address)
        session = open_session(client)
        client.ask("act", 3, command(0), session)
        assert stopped.wait(20)
        assert robot.asked == ["connect", "act 0", "hold", "stop"]
        for id, kind in ((4, "act"), (5, "step")):
            answer = client.ask(kind, id, command(0), session)
            assert answer.payload["code"] == "failed"
            assert "stopped, since no command came for 0.4 s. Look after it, then reset it." in answer.payload["message"]
        assert client.ask("observe", 6, {}, session).kind == "result"
        client.ask("reset", 7, {"episode": None, **AT_ANY_TIME}, session)
        assert client.ask("act", 8, command(1), session).kind == "result"
    assert [a for a in robot.asked if a.startswith("act")] == ["act 0", "act 1"]


def test_a_robot_that_was_only_reset_holds_and_is_not_stopped(robot, raw):
    robot.stop = lambda: robot.note("stop")
    with RobotHost(robot, "tcp://127.0.0.1:0", watchdog=0.05, stop=0.1).running() as host:
        client = raw(host.address)
        session = open_session(client)
        client.ask("reset", 3, {"episode": None, **AT_ANY_TIME}, session)
        assert robot.held.wait(20)
        time.sleep(0.3)
        assert client.ask("act", 4, command(1), session).kind == "result"
    assert robot.asked[:4] == ["connect", "reset None", "hold", "act 1"]


def test_who_says_hold_is_not_stopped(robot):
    robot.stop = lambda: robot.note("stop")
    robot.may_finish.clear()
    thread = RobotThread(robot, watchdog=0.05, stop=0.1)
    thread.start()

    def act():
        thread.require_running()
        robot.act(np.zeros(7, np.float32))
        return {}

    def hold():
        thread.hold()
        return {}

    for name, call in (("act", act), ("hold", hold)):  # so that no time passes in between, however busy the machine is
        thread.submit(Command(name, "", 0.0, math.inf, lambda _: None, call, moves=name == "act"))
    robot.may_finish.set()
    assert robot.held.wait(20)
    time.sleep(0.3)
    thread.close()
    thread.join()
    assert "stop" not in robot.asked


def test_a_robot_without_brakes_stops_by_holding(robot):
    robot.stop()
    assert robot.asked == ["hold"]


def test_what_a_host_does_can_be_read(robot, raw):
    metrics = PrometheusMetrics("127.0.0.1:0")
    with RobotHost(robot, "tcp://127.0.0.1:0", watchdog=0.1, stop=0.1, metrics=metrics).running() as host:
        client = raw(host.address)
        session = open_session(client)
        client.ask("reset", 3, {"episode": None, **AT_ANY_TIME}, session)
        client.ask("act", 4, command(9), session)
        while not host._thread.stopped:
            time.sleep(0.01)
        client.ask("act", 5, command(1), session)
        told = read_metrics(metrics.address)
    assert told['forehand_requests_total{code="ok",kind="act"}'] == 1
    assert told['forehand_requests_total{code="failed",kind="act"}'] == 1
    assert told['forehand_stage_seconds_count{stage="computed"}'] == 3
    assert told["forehand_cuts"] == 7  # six by the range, one by the robot itself
    assert told["forehand_watchdog_holds"] >= 1
    assert [told[f"forehand_{what}"] for what in ("held", "stopped", "queue")] == [1, 1, 0]


def test_commands_are_brought_inside_the_contract_s_limits(robot, raw):
    with RobotHost(robot, "tcp://127.0.0.1:0").running() as host:
        client = raw(host.address)
        session = open_session(client)
        client.ask("reset", 3, {"episode": None, **AT_ANY_TIME}, session)
        client.ask("step", 4, command(9), session)
    assert "act 1" in robot.asked


def test_looking_without_acting_does_not_keep_a_robot_moving(robot, raw):
    with RobotHost(robot, "tcp://127.0.0.1:0", watchdog=0.2).running() as host:
        client = raw(host.address)
        session = open_session(client)
        client.ask("act", 3, command(0), session)
        for id in range(4, 2000):
            client.ask("observe", id, {}, session)
            if robot.held.is_set():
                break
            time.sleep(0.01)
        assert robot.held.is_set()


def test_a_hold_that_fails_is_tried_again(robot, raw):
    again = threading.Semaphore(0)

    def fail():
        again.release()
        raise OSError("the bus is busy")

    robot.hold = fail
    with RobotHost(robot, "tcp://127.0.0.1:0", watchdog=0.05).running() as host:
        client = raw(host.address)
        client.ask("act", 3, command(0), open_session(client))
        assert again.acquire(timeout=20)
        assert again.acquire(timeout=20)


def test_a_second_client_is_told_busy_until_the_first_closes(robot, raw):
    with RobotHost(robot, "tcp://127.0.0.1:0").running() as host:
        first, second = raw(host.address), raw(host.address)
        session = open_session(first)
        second.ask("hello", 1, {"contract": None})
        answer = second.ask("open", 2)
        assert answer.payload["code"] == "busy"
        assert "held by another client, last active" in answer.payload["message"]
        assert second.ask("act", 3, command(0), "guessed").payload["code"] == "unknown_session"
        first.ask("close", 3, {}, session)
        assert second.ask("open", 4).kind == "result"
        assert first.ask("act", 5, command(0), session).payload["code"] == "unknown_session"
    assert [a for a in robot.asked if a.startswith("act")] == []


def test_a_silent_client_loses_the_robot_only_to_someone_who_wants_it(robot, raw):
    with RobotHost(robot, "tcp://127.0.0.1:0", lease_timeout=0.2).running() as host:
        first, second = raw(host.address), raw(host.address)
        session = open_session(first)
        time.sleep(0.4)
        assert first.ask("observe", 3, {}, session).kind == "result"
        time.sleep(0.4)
        second.ask("hello", 1, {"contract": None})
        assert second.ask("open", 2).kind == "result"
        assert first.ask("observe", 4, {}, session).payload["code"] == "unknown_session"


def test_a_robot_at_work_is_not_taken_away(robot, raw):
    robot.may_finish.clear()
    with RobotHost(robot, "tcp://127.0.0.1:0", lease_timeout=0.1).running() as host:
        first, second = raw(host.address), raw(host.address)
        first.send("act", 3, command(0), open_session(first))
        assert robot.acting.wait(20)
        time.sleep(0.3)
        second.ask("hello", 1, {"contract": None})
        assert second.ask("open", 2).payload["code"] == "busy"
        robot.may_finish.set()


def test_an_action_that_comes_too_late_moves_nothing(robot, raw):
    robot.may_finish.clear()
    with RobotHost(robot, "tcp://127.0.0.1:0", watchdog=60).running() as host:
        client = raw(host.address)
        session = open_session(client)
        client.send("act", 3, command(0.1), session)
        assert robot.acting.wait(20)
        assert client.ask("act", 4, command(0.2), session, budget=0.05).payload["code"] == "deadline_exceeded"
        robot.may_finish.set()
        assert client.answer().id == 3
        client.ask("act", 5, command(0.3), session)
    assert [a for a in robot.asked if a.startswith("act")] == ["act 0.1", "act 0.3"]


@pytest.mark.parametrize("action", [np.full(7, np.nan, np.float32), np.zeros(6, np.float32), np.zeros(7), None, "left"])
def test_an_action_that_is_none_moves_nothing(robot, raw, action):
    with RobotHost(robot, "tcp://127.0.0.1:0").running() as host:
        client = raw(host.address)
        answer = client.ask("act", 3, {"action": action}, open_session(client))
        assert answer.payload["code"] in ("contract_mismatch", "protocol_error")
    assert not any(a.startswith("act") for a in robot.asked)


@pytest.mark.parametrize(
    ("failure", "code", "message"),
    [
        (
            ConfigurationError("joint 3 is not calibrated; run calibrate"),
            "failed",
            "joint 3 is not calibrated; run calibrate",
        ),
        (ContractMismatch("no such camera"), "contract_mismatch", "no such camera"),
        (OSError("cable"), "internal", "OSError: cable"),
    ],
)
def test_what_the_robot_raises_is_told(robot, raw, failure, code, message):
    with RobotHost(robot, "tcp://127.0.0.1:0").running() as host:
        client = raw(host.address)
        session = open_session(client)
        robot.failure = failure
        assert client.ask("act", 3, command(0), session).payload == {"code": code, "message": message}
        assert client.ask("observe", 4, {}, session).kind == "result"


def test_a_policy_whose_contract_does_not_fit_stays_a_stranger(robot, raw, contract):
    wrong = contract.to_dict() | {"rate": 30.0}
    with RobotHost(robot, "tcp://127.0.0.1:0").running() as host:
        client = raw(host.address)
        answer = client.ask("hello", 1, {"contract": wrong})
        assert answer.payload["code"] == "contract_mismatch"
        assert "needed 30.0, offered 15.0" in answer.payload["message"]
        assert client.ask("open", 2).payload["code"] == "hello_required"


def test_a_robot_that_cannot_be_connected_ends_the_host(robot):
    robot.failure = ConfigurationError("no arm on /dev/ttyUSB0; plug it in")
    with pytest.raises(ConfigurationError, match="plug it in"):
        RobotHost(robot, "tcp://127.0.0.1:0").run()


def test_stopping_in_mid_episode_holds_and_closes(robot, raw):
    with RobotHost(robot, "tcp://127.0.0.1:0", watchdog=60).running() as host:
        client = raw(host.address)
        client.ask("act", 3, command(0), open_session(client))
    assert robot.asked[-2:] == ["hold", "close"]
