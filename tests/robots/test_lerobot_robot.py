"""LeRobot's robots are robots: one from PyPI without hardware, and one of our own with a camera, a motor and wheels."""

from dataclasses import dataclass
from functools import partial
from types import MappingProxyType

import numpy as np
import pytest
from lerobot.robots import Robot as TheirRobot
from lerobot.robots import RobotConfig

from forehand import Camera, Field, Sensor, registry
from forehand.conformance import assert_robot_conforms
from forehand.errors import ConfigurationError, ContractMismatch, ForehandError
from forehand.wire import RobotHost
from forehand_robots.lerobot_robot import LeRobotRobot
from forehand_robots.remote import RemoteRobot

pytestmark = pytest.mark.slow  # importing all of LeRobot's robots takes ten seconds

dummy = partial(LeRobotRobot, "dummy_follower", {"silent": True})


@RobotConfig.register_subclass("forehand_test_rover")
@dataclass(kw_only=True)
class RoverConfig(RobotConfig):
    calibrated: bool = True
    plugged: bool = True


class Rover(TheirRobot):
    """One joint that stops at ±1, and one wheel."""

    config_class = RoverConfig
    name = "forehand_test_rover"
    observation_features = MappingProxyType({"arm.pos": float, "front": (6, 8, 3), "wheel.vel": float})
    action_features = MappingProxyType({"arm.pos": float, "wheel.vel": float})
    is_connected = False

    def __init__(self, config):
        super().__init__(config)
        self.config, self.sent = config, []

    def connect(self, calibrate=True):
        assert not calibrate, "it would ask questions that nobody is there to answer"
        if not self.config.plugged:
            raise ConnectionError("no /dev/ttyACM0")
        self.is_connected = True

    @property
    def is_calibrated(self):
        return self.config.calibrated

    def calibrate(self): ...

    def configure(self): ...

    def get_observation(self):
        now = self.sent[-1] if self.sent else {"arm.pos": 0.0, "wheel.vel": 0.0}
        return {**now, "front": np.full((6, 8, 3), 9, np.uint8)}

    def send_action(self, action):
        self.sent.append({**action, "arm.pos": float(np.clip(action["arm.pos"], -1, 1))})
        return self.sent[-1]

    def disconnect(self):
        self.is_connected = False


def rover(**config):
    """Our driver of a rover, and the rover."""
    with pytest.MonkeyPatch.context() as patch:  # LeRobot would look for the class in a module of its own
        patch.setattr("forehand_robots.lerobot_robot.make_robot_from_config", Rover)
        robot = LeRobotRobot("forehand_test_rover", {"id": "rover", **config})
    return robot, robot._robot


def test_depth_of_its_cameras_is_a_sensor_in_millimetres():
    """LeRobot names it after the camera, and gives it one channel (cameras with use_depth)."""
    robot, theirs = rover()
    depth = np.arange(48, dtype=np.uint16).reshape(6, 8, 1)
    theirs.observation_features = {**theirs.observation_features, "front_depth": (6, 8, 1)}
    own, feel = theirs.get_observation, depth
    theirs.get_observation = lambda: {**own(), "front_depth": feel}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("forehand_robots.lerobot_robot.make_robot_from_config", lambda config: theirs)
        robot = LeRobotRobot("forehand_test_rover", {"id": "rover"})
    assert robot.contract.sensors == (Sensor("front_depth", "depth", (6, 8), "uint16", unit="mm"),)
    assert [camera.name for camera in robot.contract.cameras] == ["front"]
    robot.connect()
    np.testing.assert_array_equal(robot.observe().sensors["front_depth"], depth[..., 0])
    feel = depth.astype(np.float32)
    with pytest.raises(ContractMismatch, match="sensor 'front_depth' must be uint16"):
        robot.observe()


def test_it_conforms():
    assert_robot_conforms(dummy)
    assert_robot_conforms(lambda: rover()[0])


def test_the_contract_comes_from_its_features_in_the_order_of_lerobots_recordings():
    assert dummy().contract.state == (Field("state", 7),)
    contract = rover()[0].contract
    assert contract.cameras == (Camera("front", 6, 8),)
    assert contract.state == (Field("state", 2),)
    assert contract.action == (Field("action", 2),)
    assert contract.rate == 30
    says = [{"name": "joints", "size": 6, "unit": "deg"}, {"name": "gripper", "size": 1, "gripper": "open"}]
    stated = dummy(rate=15, action_fields=says).contract
    assert stated.action == (Field("joints", 6, unit="deg"), Field("gripper", 1, gripper="open"))
    assert stated.rate == 15


def test_what_was_really_sent_comes_back():
    robot, body = rover()
    robot.connect()
    np.testing.assert_array_equal(robot.act(np.array([3, 0.5], np.float32)), [1, 0.5])
    assert body.sent == [{"arm.pos": 1.0, "wheel.vel": 0.5}]
    np.testing.assert_array_equal(robot.observe().state, [1, 0.5])
    with pytest.raises(ContractMismatch, match="2 finite numbers"):
        robot.act(np.array([np.nan, 0], np.float32))
    assert len(body.sent) == 1


def test_holding_stops_what_rolls():
    robot, body = rover()
    robot.connect()
    robot.hold()
    assert body.sent == []  # nothing was ever asked of it
    robot.act(np.array([0.2, 0.5], np.float32))
    robot.hold()
    assert body.sent[-1] == pytest.approx({"arm.pos": 0.2, "wheel.vel": 0.0})


@pytest.mark.parametrize(
    "connect",
    [
        lambda self: self.plug_in(),
        lambda self, **options: self.plug_in(**options),
        lambda self, warm=True: self.plug_in(),
    ],
    ids=["nothing", "anything", "another option"],
)
def test_one_that_knows_no_calibration_when_it_connects_is_driven_too(connect, monkeypatch):
    def plug_in(self, calibrate=False):
        assert not calibrate
        self.is_connected = True

    monkeypatch.setattr(Rover, "plug_in", plug_in, raising=False)
    monkeypatch.setattr(Rover, "connect", connect)
    assert_robot_conforms(lambda: rover()[0])


def test_a_robot_that_cannot_be_driven_says_why():
    with pytest.raises(ForehandError, match=r"cannot be connected: ConnectionError: no /dev/ttyACM0.*cables"):
        rover(plugged=False)[0].connect()
    robot, body = rover(calibrated=False)
    with pytest.raises(ForehandError, match=r"lerobot-calibrate --robot\.type=forehand_test_rover"):
        robot.connect()
    assert not body.is_connected


@pytest.mark.parametrize(
    ("robot", "says"),
    [
        (partial(LeRobotRobot, "so101_folower"), "Did you mean 'so101_follower'"),
        (partial(LeRobotRobot, "dummy_follower", {"silen": True}), r"`silen`.*Correct robot\.options\.config"),
        (partial(dummy, rate=0), r"robot\.options\.rate must be a positive number of Hz, not 0"),
        (partial(dummy, rate=-30.0), r"robot\.options\.rate .*not -30\.0"),
        (partial(dummy, rate=float("nan")), r"robot\.options\.rate .*not nan"),
        (partial(dummy, action_fields=[{"name": "joints", "size": 3}]), "describes 3 .* there are 7"),
    ],
)
def test_what_cannot_be_made_says_why(robot, says):
    with pytest.raises(ConfigurationError, match=says):
        robot()


def test_a_robot_host_can_wrap_it():
    robot = registry().create("robot", "lerobot", type="dummy_follower", config={"silent": True})
    with RobotHost(robot, "tcp://127.0.0.1:0").running() as host:
        assert_robot_conforms(lambda: RemoteRobot(host.address))
