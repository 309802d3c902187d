"""Sensors travel in observations, exactly; peers that know none of them notice nothing."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from forehand import Robot, Sensor, registry
from forehand.conformance.example import measurement
from forehand.errors import ContractMismatch, NotFinite
from forehand.policy import Prediction
from forehand.wire import PolicyClient, ProtocolError, RobotHost
from forehand.wire.adapters.key_map import KeyMap
from forehand.wire.messages import Message, decode, encode
from forehand.wire.serialize import contract_from_payload, observation_from_payload, observation_to_payload

SENSORS = (
    Sensor("depth", "depth", (24, 32), "uint16", unit="mm"),
    Sensor("metres", "depth", (4, 5), "float32", unit="m"),
    Sensor("cloud", "point_cloud", (None, 3), "float32", most=20),
    Sensor("force", "vector", (6,), "float32", unit="N"),
)


@pytest.fixture
def equipped(contract):
    return replace(contract, sensors=SENSORS)


@pytest.fixture
def feel(sense):
    """An observation with all sensors, another one for each number."""

    def make(number=0):
        random = np.random.default_rng([number, 1])
        return replace(sense(number), sensors={s.name: measurement(s, random) for s in SENSORS})

    return make


def over_the_wire(payload, **options):
    return decode(encode(Message("step", 1, {"it": payload}), **options)).payload["it"]


def assert_same(found, sent):
    assert found.keys() == sent.keys()
    for name in sent:
        assert found[name].dtype == sent[name].dtype
        np.testing.assert_array_equal(found[name], sent[name])


@pytest.mark.parametrize("jpeg", [None, 50])
def test_sensors_arrive_exactly(equipped, feel, jpeg):
    sent = feel(3)
    assert sent.sensors["depth"].any()
    assert not sent.sensors["depth"].all()
    back = observation_from_payload(over_the_wire(observation_to_payload(sent), jpeg=jpeg), equipped)
    assert_same(back.sensors, sent.sensors)


def test_an_observation_without_sensors_is_as_it_was(contract, equipped, sense, feel):
    assert set(observation_to_payload(sense())) == {"images", "state", "time", "success"}
    back = observation_from_payload(over_the_wire(observation_to_payload(feel())), contract)
    np.testing.assert_array_equal(back.state, feel().state)  # who expects no sensors takes it all the same


def test_the_contract_arrives(equipped):
    assert contract_from_payload(over_the_wire(equipped.to_dict())) == equipped


@pytest.mark.parametrize(
    ("damage", "error", "says"),
    [
        (lambda s: s.pop("depth"), ContractMismatch, "sensor 'depth' must be uint16.*missing"),
        (lambda s: s.update(depth=np.zeros((24, 33), np.uint16)), ContractMismatch, r"'depth'.*\(24, 33\)"),
        (lambda s: s.update(depth=np.zeros((24, 32), np.float32)), ContractMismatch, "'depth'.*uint16.*float32"),
        (lambda s: s.update(cloud=np.zeros((21, 3), np.float32)), ContractMismatch, "up to 20"),
        (lambda s: s.update(force=np.full(6, np.nan, np.float32)), NotFinite, r"'force'.*\[0\] is nan"),
        (lambda s: s.update(more=3), ProtocolError, "sensor 'more' must be an array"),
    ],
)
def test_a_sensor_that_breaks_the_contract_is_refused(equipped, feel, damage, error, says):
    payload = observation_to_payload(feel())
    damage(payload["sensors"])
    with pytest.raises(error, match=says):
        observation_from_payload(payload, equipped)


class Feeling(Robot):
    def __init__(self, contract, feel):
        self.contract, self._feel = contract, feel

    def reset(self, episode=None):
        return self._feel(0)

    def observe(self):
        return self._feel(1)

    def act(self, action):
        return action

    def hold(self):
        pass


def test_a_remote_robots_sensors_arrive_exactly(equipped, feel):
    with RobotHost(Feeling(equipped, feel), "tcp://127.0.0.1:0", watchdog=60).running() as host:
        robot = registry().create("robot", "remote", address=host.address)
        robot.connect()
        try:
            assert robot.contract == equipped
            assert_same(robot.reset().sensors, feel(0).sensors)
            assert_same(robot.observe().sensors, feel(1).sensors)
        finally:
            robot.close()


def test_a_policy_servers_sensors_arrive_exactly_and_the_earlier_frames_too(equipped, feel, serve):
    seen = []

    def watch(sessions, observations):
        seen.extend(observations)
        return [Prediction(np.stack([o.state, o.state])) for o in observations]

    server = serve(watch, contract=equipped)
    server._policy.remember = lambda session, frames: seen.extend(frames)
    with PolicyClient(server.address, contract=equipped) as client:
        session = client.open("push")
        session.remember([feel(0)], 3)
        session.step(feel(1))
        broken = {**feel(2).sensors, "force": np.full(6, np.inf, np.float32)}
        with pytest.raises(NotFinite, match="sensor 'force'"):
            session.step(replace(feel(2), sensors=broken))
    assert len(seen) == 2
    for number, observation in enumerate(seen):
        assert_same(observation.sensors, feel(number).sensors)


def test_a_robot_without_the_sensors_is_refused_before_anything_moves(contract, equipped, serve):
    server = serve(contract=equipped)
    with (
        pytest.raises(ContractMismatch, match="sensor 'depth': needed 'present'"),
        PolicyClient(server.address, contract=contract) as client,
    ):
        client.ping()


def test_clients_of_other_protocols_cannot_give_sensors(equipped):
    with pytest.raises(ContractMismatch, match="reads the sensor 'depth', which an adapter's clients cannot send"):
        KeyMap({}, [], "prompt").read({}, equipped)
