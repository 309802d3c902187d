"""Cables are pulled, processes die, messages are lost, repeated and damaged: an answer or a clear error, in time, always.

What covers which fault:

- server killed mid-episode, restarted, robot holds and resumes: ``tests/apps/test_processes.py``, ``tests/core/running``,
  ``test_lost_connections.py``
- host killed: ``tests/robots/test_remote.py``, ``tests/apps/test_processes.py``
- a hung policy: here, and ``test_policy_server.py`` (it keeps nobody from stopping)
- a frozen server, a frozen robot: here (SIGSTOP, and a driver that does not return)
- dropped, delayed, reordered, repeated, truncated messages: here
- wrong version: ``test_policy_server.py``; a contract changed in between: ``test_lost_connections.py``
- wrong, unknown or missing key: ``test_access.py``
- a control loop that hangs: ``tests/core/running/test_watchdog_robot.py``
- disk full while recording: ``tests/core/data/test_recorder.py``, ``test_tape.py``
- floods and strangers: ``test_policy_server.py``, ``test_lost_connections.py``
- damaged messages by the million: here in short, ``performance/wire_fuzz.py``
"""

from __future__ import annotations

import importlib.util
import os
import random
import signal
import threading
import time
from collections import Counter
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import zmq
from tests.core.wire.conftest import RobotClient

from forehand import Prediction, Robot
from forehand.errors import ForehandError
from forehand.wire import ConnectionLost, DeadlineExceeded, PolicyClient, RobotHost, UnknownSession
from forehand.wire.clients import HEARTBEAT_TIMEOUT

SERVER = """
import sys
from forehand import Contract, Policy, Prediction
from forehand.wire import PolicyServer

class Instant(Policy):
    contract = Contract.from_json(sys.argv[1])
    def step(self, sessions, observations, *, forecast=False):
        return [Prediction(o.state[None]) for o in observations]

server = PolicyServer(Instant(), "tcp://127.0.0.1:0")
print(server.address, flush=True)
server.run()
"""


class Proxy:
    """A network that loses, delays, repeats, reorders and cuts messages, by a script that a seed decides.

    Between clients and the endpoint at ``target``; ``chances``: the probability of each mishap.
    """

    def __init__(self, target: str, seed: int, **chances: float) -> None:
        self.chances, self.chance = chances, random.Random(seed)
        self.mishaps: list[str] = []
        context = zmq.Context.instance()
        self._front, self._control = context.socket(zmq.ROUTER), context.socket(zmq.PAIR)
        self._target, self._backs = target, {}
        self._held: list[tuple[float, zmq.Socket, list[bytes]]] = []
        self.address = f"tcp://127.0.0.1:{self._front.bind_to_random_port('tcp://127.0.0.1')}"
        self._control.bind(f"inproc://{id(self)}")
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        context = zmq.Context.instance()
        poller = zmq.Poller()
        control = context.socket(zmq.PAIR)
        control.connect(f"inproc://{id(self)}")
        for socket in (self._front, control):
            poller.register(socket, zmq.POLLIN)
        while control not in (ready := dict(poller.poll(5))):
            if self._front in ready:
                identity, *frames = self._front.recv_multipart()
                if identity not in self._backs:
                    back = self._backs[identity] = context.socket(zmq.DEALER)
                    back.connect(self._target)
                    poller.register(back, zmq.POLLIN)
                self._pass(self._backs[identity], [], frames)
            for identity, back in self._backs.items():
                if back in ready:
                    self._pass(self._front, [identity], back.recv_multipart())
            now = time.monotonic()
            due = [held for held in self._held if held[0] <= now]
            self._held = [held for held in self._held if held[0] > now]
            for _, socket, frames in due:
                socket.send_multipart(frames)
        for socket in (self._front, control, *self._backs.values()):
            socket.close(linger=0)

    def _pass(self, socket: zmq.Socket, route: list[bytes], frames: list[bytes]) -> None:
        mishap = next((m for m, p in self.chances.items() if self.chance.random() < p), None)
        if mishap:
            self.mishaps.append(mishap)
        if mishap == "drop":
            return
        if mishap == "delay":  # longer than what follows it, which so overtakes it
            self._held.append((time.monotonic() + self.chance.uniform(0.05, 0.4), socket, route + frames))
            return
        if mishap == "truncate":
            frames = [frames[0][: self.chance.randrange(len(frames[0]))], *frames[1:]]
        if mishap == "cut":
            frames = frames[: self.chance.randrange(1, len(frames) + 1)]
        socket.send_multipart(route + frames)
        if mishap == "repeat":
            socket.send_multipart(route + frames)


@contextmanager
def proxy(target: str, seed: int, **chances: float):
    """A :class:`Proxy` that works for the length of a ``with`` block."""
    between = Proxy(target, seed, **chances)
    between._thread.start()
    try:
        yield between
    finally:
        between._control.send(b"")
        between._thread.join()
        between._control.close(linger=0)


MISHAPS = {
    "drop": {"drop": 0.15},
    "delay": {"delay": 0.3},
    "repeat": {"repeat": 0.5},
    "truncate": {"truncate": 0.15},
    "cut": {"cut": 0.15},
    "everything": {"drop": 0.05, "delay": 0.1, "repeat": 0.1, "truncate": 0.05, "cut": 0.05},
}


@pytest.mark.slow
@pytest.mark.parametrize("mishaps", MISHAPS.values(), ids=MISHAPS)
def test_a_bad_network_costs_steps_but_never_gives_a_wrong_one(serve, contract, sense, mishaps):
    server = serve()
    right = wrong = 0
    with proxy(server.address, seed=1, **mishaps) as between, PolicyClient(between.address, timeout=0.3) as client:
        session = None
        for number in range(1, 60):
            try:
                session = session or client.open("push", contract)
                answer = session.step(sense(number))
            except UnknownSession:
                session = None
            except ForehandError:
                wrong += 1
            else:
                np.testing.assert_array_equal(answer.actions[0], sense(number).state)
                right += 1
    assert between.mishaps
    assert right > 10, (right, wrong, Counter(between.mishaps))
    with PolicyClient(server.address) as client:
        client.ping()


class Counting(Robot):
    """Counts what it is really told."""

    def __init__(self, contract, sense):
        self.contract, self.sense, self.told = contract, sense, []

    def reset(self, episode=None):
        return self.sense(0)

    def observe(self):
        return self.sense(1)

    def act(self, action):
        self.told.append(round(float(action[0]), 3))
        return action

    def hold(self):
        pass


@pytest.mark.slow
def test_a_command_is_never_carried_out_twice_nor_after_a_later_one(contract, sense):
    robot = Counting(contract, sense)
    with RobotHost(robot, "tcp://127.0.0.1:0", watchdog=60).running() as host:
        mishaps = {"repeat": 0.3, "delay": 0.2, "drop": 0.05}
        with proxy(host.address, seed=2, **mishaps) as between:
            remote = RobotClient(between.address, timeout=0.3)
            for _ in range(50):
                try:
                    remote.connect()
                    break
                except ForehandError:
                    host._holder = None  # its answer was lost; a patient client waits for the release time
            for number in range(60):
                try:
                    remote.act(np.full(7, number / 100, np.float32))
                except ForehandError:
                    continue
            remote.session = None
            remote.close()
        assert Counter(between.mishaps).keys() >= {"repeat", "delay"}
    assert len(robot.told) > 20
    assert robot.told == sorted(set(robot.told))


@pytest.mark.slow
def test_a_frozen_server_is_missed_in_seconds_with_and_without_a_question(process, contract, sense):
    child, address = process(SERVER, contract.to_json())
    with PolicyClient(address, timeout=120) as idle, PolicyClient(address, timeout=120) as asking:
        session = asking.open("push", contract)
        idle.ping()
        os.kill(child.pid, signal.SIGSTOP)
        started = time.monotonic()
        with pytest.raises(ConnectionLost, match="was lost"):
            session.step(sense())
        while idle.alive:
            assert time.monotonic() - started < 60
            time.sleep(0.05)
        assert time.monotonic() - started > HEARTBEAT_TIMEOUT / 2
        os.kill(child.pid, signal.SIGCONT)
        assert session.step(sense()).actions.shape == (1, 7)


def test_a_hung_policy_costs_a_step_its_time_and_nobody_the_server(serve, contract, sense):
    released = threading.Event()

    def hang(sessions, observations):
        if observations[0].time > 0:
            assert released.wait(60)
        return [Prediction(o.state[None]) for o in observations]

    server = serve(hang)
    with PolicyClient(server.address) as client, PolicyClient(server.address) as other:
        session = client.open("push", contract)
        with pytest.raises(DeadlineExceeded, match="overloaded, slow or stuck"):
            session.step(sense(1), timeout=0.3)
        other.ping()
        with pytest.raises(DeadlineExceeded):
            session.step(sense(0), timeout=0.3)
        released.set()
        np.testing.assert_array_equal(session.step(sense(0)).actions[0], sense(0).state)


def test_a_frozen_robot_costs_a_command_its_time_and_the_host_goes_on_answering(contract, sense):
    robot, released = Counting(contract, sense), threading.Event()
    robot.observe = lambda: (released.wait(60), sense(1))[1]
    with RobotHost(robot, "tcp://127.0.0.1:0", watchdog=60).running() as host:
        remote = RobotClient(host.address, timeout=10)
        remote.connect()
        remote.reset()
        remote.connection.timeout = 0.3
        with pytest.raises(DeadlineExceeded):
            remote.observe()
        with pytest.raises(DeadlineExceeded):
            remote.act(np.zeros(7, np.float32))
        released.set()
        remote.connection.timeout = 10
        remote.act(np.full(7, 0.5, np.float32))
        remote.close()
    assert robot.told == [0.5]  # the action that waited too long was not carried out


def benchmark(name):
    """A module of ``benchmarks/``."""
    spec = importlib.util.spec_from_file_location(name, Path(__file__).parents[3] / "performance" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_decoder_survives_what_the_fuzzer_makes_of_messages():
    fuzzer = benchmark("wire_fuzz")
    outcomes, slowest, _ = fuzzer.fuzz(int(os.environ.get("FOREHAND_FUZZ", "20000")), seed=3)
    assert outcomes.keys() >= {"message", "ProtocolError", "VersionMismatch"}
    assert slowest < fuzzer.SLOW


@pytest.mark.slow
def test_robots_that_come_and_go_leave_no_session_behind():
    partings, _, sessions, clients = benchmark("wire_soak").soak(seconds=3.0, robots=4)
    assert partings.keys() == {"closed", "forgotten", "dropped"}
    assert (sessions, clients) == (0, 0)
