"""No command begins once its sender has given up on it or asked for something newer; what is not known is called so."""

from __future__ import annotations

import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np
import pytest
import zmq
from tests.core.wire.conftest import RobotClient

from forehand import Robot
from forehand.control.robot_thread import Command, RobotThread
from forehand.utils.clock import STANDSTILL, clock
from forehand.wire import ConnectionLost, DeadlineExceeded, RobotHost
from forehand.wire.clients import HEARTBEAT_TIMEOUT
from forehand.wire.connection import ROBOT, Connection
from forehand.wire.messages import Message, decode, encode

HOST = """
import sys
import numpy as np
from forehand import Contract, Observation, Robot
from forehand.wire import RobotHost

class Body(Robot):
    contract = Contract.from_json(sys.argv[1])
    acted = 0
    def reset(self, episode=None):
        images = {c.name: np.zeros((c.height, c.width, 3), np.uint8) for c in self.contract.cameras}
        return Observation(images, np.full(7, self.acted, np.float32), 0.0)
    observe = reset
    def act(self, action):
        self.acted += 1
        return action
    def hold(self):
        pass

host = RobotHost(Body(), "tcp://127.0.0.1:0", watchdog=0.2)
print(host.address, flush=True)
host.run()
"""


class Body(Robot):
    """Writes down what it is asked for; looking waits until it may."""

    def __init__(self, contract, sense):
        self.contract, self.sense, self.asked = contract, sense, []
        self.looking, self.may_look = threading.Event(), threading.Event()
        self.stop_fails = 0

    def reset(self, episode=None):
        self.asked.append("reset")
        return self.sense(0)

    def observe(self):
        self.looking.set()
        assert self.may_look.wait(60)
        return self.sense(1)

    def act(self, action):
        self.asked.append(f"act {action[0]:g}")
        return action

    def hold(self):
        self.asked.append("hold")

    def stop(self):
        self.asked.append("stop")
        if self.stop_fails:
            self.stop_fails -= 1
            raise OSError("the brake is stuck")


@pytest.fixture
def body(contract, sense):
    body = Body(contract, sense)
    yield body
    body.may_look.set()


@pytest.fixture
def host(body):
    with RobotHost(body, "tcp://127.0.0.1:0", watchdog=60).running() as host:
        yield host
        body.may_look.set()


def command(number, **more):
    return {"action": np.full(7, number, np.float32), **more}


def open_session(client):
    hello = client.ask("hello", 1, {"contract": None})
    return client.ask("open", 2).payload["session"], hello.payload["clock"]


@contextmanager
def stopped(child, seconds):
    os.kill(child.pid, signal.SIGSTOP)
    try:
        began = time.monotonic()
        yield
        time.sleep(max(0.0, began + seconds - time.monotonic()))
    finally:
        os.kill(child.pid, signal.SIGCONT)


@pytest.mark.slow
@pytest.mark.parametrize("age", ["stated", "unknown"])
def test_a_host_that_stood_still_does_not_begin_what_came_meanwhile(process, raw, contract, age):
    child, address = process(HOST, contract.to_json())
    client = raw(address)
    session, began = open_session(client)
    client.ask("act", 3, command(0), session)
    began = client.ask("ping", 4).payload["clock"]
    with stopped(child, STANDSTILL + 0.5):
        client.send("act", 5, command(0, begin_by=began + 0.5) if age == "stated" else command(0), session)
    answer = client.answer()
    assert (answer.id, answer.payload["code"]) == (5, "deadline_exceeded")
    assert "not carried out" in answer.payload["message"]
    seen = client.ask("observe", 6, {}, session).payload["observation"]
    assert seen["state"][0] == 1


@pytest.mark.slow
@pytest.mark.parametrize(("timeout", "error"), [(0.5, DeadlineExceeded), (60, ConnectionLost)])
def test_a_driver_that_gave_up_on_a_frozen_host_is_not_obeyed_when_it_wakes(process, raw, contract, timeout, error):
    child, address = process(HOST, contract.to_json())
    remote = RobotClient(address, timeout=60)
    remote.connect()
    remote.act(np.zeros(7, np.float32))
    action, link = command(0)["action"], remote.connection._link
    remote.connection.timeout = timeout
    with stopped(child, 1.0), pytest.raises(error, match="'act' was carried out is unknown; if it has not begun yet"):
        remote.act(action)
    if error is DeadlineExceeded:  # its late refusal says that the host has read it
        answers = iter(lambda: decode(link.receive(20)), None)
        assert next(answer for answer in answers if answer.kind == "error").payload["code"] == "deadline_exceeded"
    remote.connection.timeout = 60
    assert remote.observe().state[0] == 1
    remote.close()


def test_a_command_that_waits_longer_than_its_sender_is_not_carried_out(host, body):
    remote = RobotClient(host.address, timeout=60)
    remote.connect()
    with ThreadPoolExecutor() as pool:
        other = Connection(host.address, ROBOT, 60)
        other.hello()
        looks = pool.submit(other.request, "observe", {}, session=remote.session)
        assert body.looking.wait(60)
        remote.connection.timeout = 0.2
        with pytest.raises(DeadlineExceeded, match="carried out"):
            remote.act(np.zeros(7, np.float32))
        body.may_look.set()
        looks.result()
        other.close()
    remote.connection.timeout = 60
    remote.act(np.ones(7, np.float32))
    remote.close()
    assert body.asked == ["act 1", "hold"]


def test_a_time_that_passed_on_the_host_s_clock_is_too_late_whatever_the_budget(host, body, raw):
    client = raw(host.address)
    session, now = open_session(client)
    for id, kind in enumerate(("act", "step", "reset"), 3):
        answer = client.ask(kind, id, command(0, begin_by=now - 0.001, episode=None), session)
        assert answer.payload["code"] == "deadline_exceeded"
    assert client.ask("act", 6, command(1, begin_by=now + 60), session).kind == "result"
    assert body.asked == ["act 1"]


@pytest.mark.parametrize("begin_by", [float("nan"), float("inf"), "soon", True])
def test_a_time_that_is_none_moves_nothing(host, body, raw, begin_by):
    client = raw(host.address)
    session, _ = open_session(client)
    answer = client.ask("act", 3, command(0, begin_by=begin_by), session)
    assert answer.payload["code"] == "protocol_error"
    assert "'begin_by' must be" in answer.payload["message"]
    assert body.asked == []


@pytest.mark.parametrize("kind", ["hold", "stop", "observe", "act", "close"])
def test_whatever_a_session_asks_next_supersedes_the_motion_that_waits(host, body, raw, kind):
    client = raw(host.address)
    session, _ = open_session(client)
    client.send("observe", 3, {}, session)
    assert body.looking.wait(60)
    client.send("act", 4, command(0), session)
    client.send(kind, 5, command(1), session)
    answer = client.answer()
    assert (answer.id, answer.payload["code"]) == (4, "superseded")
    assert f"'act' was not carried out: before it began, '{kind}' came" in answer.payload["message"]
    body.may_look.set()
    assert {client.answer().id, client.answer().id} == {3, 5}
    assert "act 0" not in body.asked


def test_what_a_lost_client_had_asked_for_is_not_begun(host, body, raw):
    client = raw(host.address)
    session, _ = open_session(client)
    client.send("observe", 3, {}, session)
    assert body.looking.wait(60)
    client.send("act", 4, command(0), session)
    client.ask("ping", 5)
    host.on_disconnect(host._holder_client)
    assert client.answer().payload["code"] == "superseded"


@pytest.mark.slow
def test_a_motion_waits_for_its_turn_no_longer_than_a_client_for_a_sign_of_life(host, body, raw):
    client = raw(host.address)
    session, _ = open_session(client)
    client.send("observe", 3, {}, session)
    assert body.looking.wait(60)
    began = clock()
    client.send("act", 4, command(0), session, budget=60)
    assert client.answer().payload["code"] == "deadline_exceeded"
    assert clock() - began >= HEARTBEAT_TIMEOUT


def test_the_last_look_at_the_clock_is_directly_before_the_motion(body, monkeypatch):
    """As when the machine is suspended after a command was taken from the queue."""
    thread, outcomes = RobotThread(body, 60, 60), []
    thread.start()
    done = threading.Event()

    def call():
        monkeypatch.setattr("forehand.control.robot_thread.clock", lambda: clock() + 3)
        thread.require_running()
        raise AssertionError("it went on")

    now = time.monotonic()
    answer = lambda outcome: (outcomes.append(outcome), done.set())  # noqa: E731
    thread.submit(Command("act", "", now, now + 60, answer, call, moves=True, begin_by=clock() + 2))
    assert done.wait(60)
    thread.close()
    thread.join()
    assert isinstance(outcomes[0], DeadlineExceeded)


class ScriptedHost(threading.Thread):
    """An endpoint that answers hello and open, and nothing else; ``ahead``: of its clock, None where it has none."""

    def __init__(self, contract, ahead):
        super().__init__(daemon=True)
        self.contract, self.ahead, self.asked = contract, ahead, []
        self.socket = zmq.Context.instance().socket(zmq.ROUTER)
        self.address = f"tcp://127.0.0.1:{self.socket.bind_to_random_port('tcp://127.0.0.1')}"
        self.silent = threading.Event()

    def run(self):
        while self.socket.poll(60_000):
            identity, *frames = self.socket.recv_multipart()
            message = decode(frames)
            self.asked.append((clock(), message))
            facts = {"role": "robot", "contract": self.contract.to_dict(), "facts": {}, "session": "token"}
            if message.kind == "bye":
                break
            if message.kind in ("hello", "open") or (message.kind == "ping" and not self.silent.is_set()):
                stamp = {} if self.ahead is None else {"clock": clock() + self.ahead}
                answer = encode(Message("result", message.id, {**facts, **stamp}))
                self.socket.send_multipart([identity, *answer])
        self.socket.close(linger=0)

    def only(self, kind):
        ((when, message),) = [(when, message) for when, message in self.asked if message.kind == kind]
        return when, message


@pytest.fixture
def scripted(contract, raw):
    hosts = []

    def start(ahead):
        hosts.append(ScriptedHost(contract, ahead))
        hosts[-1].start()
        return hosts[-1]

    yield start
    for host in hosts:
        raw(host.address).send("bye", 1)
        host.join(20)


@pytest.mark.slow
@pytest.mark.parametrize("ahead", [-1e5, 1e5])
@pytest.mark.parametrize(("timeout", "wait"), [(0.4, 0.4), (600, HEARTBEAT_TIMEOUT)])
def test_a_command_says_on_the_host_s_clock_until_when_it_may_begin(scripted, ahead, timeout, wait):
    host = scripted(ahead)
    remote = RobotClient(host.address, timeout=60)
    remote.connect()
    host.silent.set()
    remote.connection.timeout = timeout
    before = clock()
    with pytest.raises((DeadlineExceeded, ConnectionLost), match="carried out"):
        remote.act(np.zeros(7, np.float32))
    given_up = clock()
    remote.session = None
    remote.close()
    _, message = host.only("act")
    begin_by = message.payload["begin_by"] - ahead
    assert before < begin_by < before + wait
    assert begin_by < given_up


def test_a_host_that_states_no_time_is_asked_as_ever_and_what_it_may_do_is_said(scripted):
    host = scripted(None)
    remote = RobotClient(host.address, timeout=60)
    remote.connect()
    remote.connection.timeout = 0.3
    with pytest.raises(DeadlineExceeded, match="Whether 'act' was carried out is unknown; this host may begin it"):
        remote.act(np.zeros(7, np.float32))
    remote.session = None
    remote.close()
    assert host.only("act")[1].payload.keys() == {"action"}


def test_a_clock_that_was_not_heard_for_long_is_asked_first(scripted, monkeypatch):
    host = scripted(0.0)
    remote = RobotClient(host.address, timeout=60)
    remote.connect()
    host.silent.set()
    monkeypatch.setattr("forehand.utils.clock.FRESH", -1.0)
    remote.connection.timeout = 0.3
    with pytest.raises(DeadlineExceeded, match=r"'act' was not sent, so it was not carried out\."):
        remote.act(np.zeros(7, np.float32))
    remote.session = None
    remote.close()
    assert "act" not in [message.kind for _, message in host.asked]


def test_a_robot_that_is_stopped_moves_no_more_until_it_is_reset(host, body):
    remote = RobotClient(host.address, timeout=60)
    remote.connect()
    remote.act(np.zeros(7, np.float32))
    remote.stop()
    remote.hold()
    with pytest.raises(Exception, match=r"The robot stopped, on request\. Look after it, then reset it\."):
        remote.act(np.ones(7, np.float32))
    remote.reset()
    remote.act(np.ones(7, np.float32))
    remote.close()
    assert body.asked == ["act 0", "stop", "reset", "act 1", "hold"]


def test_a_stop_that_fails_is_said_and_tried_again_and_nothing_moves_meanwhile(body, raw):
    body.stop_fails = 2
    with RobotHost(body, "tcp://127.0.0.1:0", watchdog=0.05).running() as host:
        client = raw(host.address)
        session, _ = open_session(client)
        answer = client.ask("stop", 3, {}, session)
        assert answer.payload == {"code": "internal", "message": "OSError: the brake is stuck"}
        act = command(0, begin_by=clock() + 60)
        assert client.ask("act", 4, act, session).payload["code"] == "failed"
        while body.asked.count("stop") < 3:
            time.sleep(0.01)
        assert client.ask("act", 5, act, session).payload["code"] == "failed"
    assert body.asked == ["stop", "stop", "stop"]
