"""A robot behind a host is a robot like any other, and one whose host is gone says so."""

from __future__ import annotations

import logging
import subprocess
import sys
import threading
from contextlib import contextmanager

import numpy as np
import pytest
from tests.child_process import ChildProcess

from forehand import Camera, Contract, Episode, Field, Observation, Robot, registry
from forehand.wire import Busy, ConnectionLost, RobotHost, UnknownSession
from forehand_robots.remote import RemoteRobot

CONTRACT = Contract((Camera("static", 8, 8),), (Field("joints", 3, unit="rad"),), (Field("joints", 3, unit="rad"),), 10.0)


class Counter(Robot):
    """Its state is how often it was asked for each thing."""

    contract = CONTRACT

    def __init__(self):
        self.acted = self.observed = self.stepped = 0
        self.episode: Episode | None = None

    def reset(self, episode=None):
        self.episode = episode
        return self.observe()

    def observe(self):
        self.observed += 1
        state = np.array([self.acted, self.observed, self.stepped], np.float32)
        return Observation({"static": np.full((8, 8, 3), self.observed, np.uint8)}, state, self.observed / 10, False)

    def act(self, action):
        self.acted += 1
        return np.clip(action, -1, 1)

    def step(self, action):
        self.stepped += 1
        return super().step(action)

    def hold(self):
        pass


@pytest.fixture
def host():
    with RobotHost(Counter(), "tcp://127.0.0.1:0", watchdog=60).running() as host:
        yield host


@pytest.fixture
def remote(host):
    robot = registry().create("robot", "remote", address=host.address)
    robot.connect()
    yield robot
    robot.close()
    robot.close()


def test_it_answers_what_the_robot_answers(host, remote):
    episode = Episode("lift", "lift the red block", 7, 100, {"blocks": 3})
    first = remote.reset(episode)
    assert remote.contract == CONTRACT
    assert host._robot.robot.episode == episode
    assert first.success is False
    np.testing.assert_array_equal(first.images["static"], np.full((8, 8, 3), 1))
    commanded = remote.act(np.array([2.0, 0.5, -3.0]))
    assert commanded.dtype == np.float32
    np.testing.assert_array_equal(commanded, [1, 0.5, -1])
    np.testing.assert_array_equal(remote.observe().state, [1, 2, 0])
    remote.hold()


def test_a_step_is_one_round_trip(remote):
    sent = remote._connection._last_id
    np.testing.assert_array_equal(remote.step(np.zeros(3, np.float32)).state, [1, 1, 1])
    assert remote._connection._last_id == sent + 1


def test_every_observation_is_fresh(remote):
    times = [remote.observe().time, remote.step(np.zeros(3, np.float32)).time, remote.observe().time]
    assert times == sorted(set(times))


def test_it_belongs_to_one_client_at_a_time(host, remote):
    other = RemoteRobot(host.address)
    with pytest.raises(Busy, match="held by another client"):
        other.connect()
    remote.connect()  # one's own earlier hold is no obstacle
    remote.close()
    other.connect()
    other.close()


def test_a_robot_that_is_not_connected_says_so(host):
    with pytest.raises(UnknownSession, match=r"call connect\(\) first"):
        RemoteRobot(host.address).observe()


HOST = """
import sys, time
import numpy as np
from forehand import Contract, Observation, Robot
from forehand.wire import RobotHost

class Slow(Robot):
    contract = Contract.from_json(sys.argv[2])
    def reset(self, episode=None):
        return Observation({"static": np.zeros((8, 8, 3), np.uint8)}, np.zeros(3, np.float32), 0.0)
    observe = reset
    def act(self, action):
        print("acting", flush=True)
        time.sleep(60 * float(action[0]))
        return action
    def hold(self):
        pass

host = RobotHost(Slow(), sys.argv[1])
print(host.address, flush=True)
host.run()
"""

TABLETOP = """
import sys
from forehand import registry
from forehand.wire import RobotHost
host = RobotHost(registry().create("robot", "tabletop", image_size=64), "tcp://127.0.0.1:0", watchdog=60)
print(host.address, flush=True)
host.run()
"""


@contextmanager
def process(code, *arguments):
    child = ChildProcess([sys.executable, "-c", code, *arguments], stdout=subprocess.PIPE)
    try:
        yield child, child.stdout.readline().strip()
    finally:
        child.end()


@pytest.mark.slow
def test_a_host_killed_in_mid_episode_is_missed_at_once_and_found_again():
    with process(HOST, "tcp://127.0.0.1:0", CONTRACT.to_json()) as (child, address):
        robot = RemoteRobot(address, timeout=60)
        robot.connect()
        robot.reset()

        def kill_in_action():
            assert child.stdout.readline() == "acting\n"
            child.kill()

        killer = threading.Thread(target=kill_in_action)
        killer.start()
        with pytest.raises(ConnectionLost, match=rf"robot host at {address} was lost.*forehand robot"):
            robot.act(np.ones(3, np.float32))
        killer.join()

    with process(HOST, address, CONTRACT.to_json()):
        with pytest.raises(UnknownSession, match="the host was restarted"):
            robot.act(np.zeros(3, np.float32))
        robot.connect()
        assert robot.step(np.zeros(3, np.float32)).state.shape == (3,)
        robot.close()


@pytest.mark.slow
def test_the_tabletop_behind_a_host_is_the_tabletop():
    local = registry().create("robot", "tabletop", image_size=64)
    (episode,) = registry().create("benchmark", "tabletop").episodes(1, seed=5)
    with process(TABLETOP) as (_, address):
        remote = RemoteRobot(address, timeout=60)
        robots = [local, remote]
        for robot in robots:
            robot.connect()
        assert remote.contract == local.contract
        seen = [[robot.reset(episode), *(robot.step(np.full(7, 0.3, np.float32)) for _ in range(3))] for robot in robots]
        for here, there in zip(*seen, strict=True):
            np.testing.assert_allclose(here.state, there.state, atol=1e-6)
            assert here.success == there.success
            for name, image in here.images.items():
                assert there.images[name].shape == image.shape
                assert np.abs(there.images[name].astype(int) - image).mean() < 1
        for robot in robots:
            robot.close()


def test_a_host_without_stop_lets_the_robot_hold(caplog):
    with RobotHost(Counter(), "tcp://127.0.0.1:0", watchdog=60).running() as host:
        del host._dispatcher.handlers["stop"]
        robot = RemoteRobot(host.address, timeout=60)
        robot.connect()
        with caplog.at_level(logging.WARNING):
            robot.stop()
        robot.close()
    assert "does not support 'stop': the robot holds instead" in caplog.text
