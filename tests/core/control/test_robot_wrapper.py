"""What stands around a robot loses nothing of it."""

import inspect

import numpy as np
import pytest

from forehand import Camera, Contract, Episode, Field, Observation, Robot
from forehand.control.converted_robot import ConvertedRobot
from forehand.control.limited_robot import LimitedRobot
from forehand.control.robot_wrapper import RobotWrapper
from forehand.control.slow_calls import SlowCallReporter
from forehand.evaluation.expert_policy import Oracle
from forehand.running import WatchdogRobot

CONTRACT = Contract(
    (Camera("front", 8, 8),),
    (Field("joint", 1, unit="rad"),),
    (Field("joint", 1, unit="rad", mode="absolute", low=(-1.0,), high=(1.0,)),),
    10.0,
)
SEEN = Observation({"front": np.zeros((8, 8, 3), np.uint8)}, np.zeros(1, np.float32), 0.0)


class Body(Robot):
    """Notes by name what reaches it, and knows its episode."""

    contract = CONTRACT

    def __init__(self, size=8):
        self.calls, self.size = [], size

    def connect(self):
        self.calls.append("connect")

    def reset(self, episode=None):
        self.calls.append("reset")
        self.episode = episode
        return SEEN

    def observe(self):
        self.calls.append("observe")
        return SEEN

    def act(self, action):
        self.calls.append(("act", float(action[0])))
        return action

    def step(self, action):
        self.calls.append(("step", float(action[0])))
        return SEEN

    def hold(self):
        self.calls.append("hold")

    def stop(self):
        self.calls.append("stop")

    def close(self):
        self.calls.append("close")

    def for_rendering(self, size, overview=False):
        return Body(size)


WRAPPERS = {
    "bare": RobotWrapper,
    "limited": LimitedRobot,
    "reported": SlowCallReporter,
    "converted": lambda robot: ConvertedRobot(robot, ["action.joint:deg", "camera.front:4x4"]),
    "watched": lambda robot: WatchdogRobot(robot, watchdog=60),
    "all": lambda robot: WatchdogRobot(ConvertedRobot(robot, ["action.joint:deg", "camera.front:4x4"]), watchdog=60),
}
WRAPPING = [RobotWrapper, LimitedRobot, ConvertedRobot, WatchdogRobot, SlowCallReporter]
PUBLIC = [name for name in sorted({*dir(Robot), *Robot.__annotations__}) if not name.startswith("_")]


@pytest.mark.parametrize("name", PUBLIC)
@pytest.mark.parametrize("wrapper", WRAPPING)
def test_whatever_a_robot_has_a_wrapper_forwards_or_overrides(wrapper, name):
    owner = next(kind for kind in wrapper.__mro__ if name in vars(kind))
    assert issubclass(owner, RobotWrapper), f"{wrapper.__name__} takes {name} from Robot, and loses the robot's own"


def test_every_wrapper_of_the_code_base_is_among_these():
    found, waiting = set(), [RobotWrapper]
    while waiting:
        kind = waiting.pop()
        found.add(kind)
        waiting += kind.__subclasses__()
    assert {kind for kind in found if kind.__module__.startswith("forehand")} == set(WRAPPING)


@pytest.mark.parametrize("wrapper", WRAPPERS.values(), ids=WRAPPERS)
def test_every_call_reaches_the_robot_as_itself(wrapper):
    body = Body()
    robot = wrapper(body)
    action = robot.from_unwrapped(np.array([0.5], np.float32))
    episode = Episode("turn", "turn it", 3, 9)
    robot.connect()
    robot.reset(episode)
    assert robot.episode is episode
    robot.observe()
    np.testing.assert_allclose(robot.act(action), action, rtol=1e-6)
    robot.step(action)
    robot.hold()
    robot.stop()
    robot.close()
    told = pytest.approx(0.5)
    moving = [("act", told), ("step", told), "hold", "stop"]
    assert body.calls[:7] == ["connect", "reset", "observe", *moving]
    assert body.calls[-1] == "close"
    assert {call if isinstance(call, str) else call[0] for call in body.calls} == {
        name for name, _ in inspect.getmembers(Body, inspect.isfunction) if name in PUBLIC
    } - {"for_rendering", "from_unwrapped"}


@pytest.mark.parametrize("wrapper", WRAPPERS.values(), ids=WRAPPERS)
def test_the_robot_inside_is_found_and_draws_for_people_behind_the_same_wrapper(wrapper):
    body = Body()
    robot = wrapper(body)
    assert robot.unwrapped is body
    other = robot.for_rendering(720)
    assert type(other) is type(robot)
    assert other.unwrapped.size == 720
    assert other.contract.action == robot.contract.action
    assert other.contract.cameras[0].height == 8  # nothing is scaled for people


def test_a_wrapper_around_one_that_draws_as_ever_stays_itself():
    class Plain(Body):
        for_rendering = None  # as without the optional interface

    for wrapper in WRAPPERS.values():
        robot = wrapper(Plain())
        assert robot.for_rendering(720) is robot


def test_limits_are_kept_once():
    watched = WatchdogRobot(LimitedRobot(body := Body()))
    assert watched.limited.robot is body


def test_an_expert_looks_into_the_robot_and_speaks_as_its_wrapper_does(line):
    class Turner:
        def __init__(self, robot):
            assert type(robot) is Body
            self.left = [np.array([0.5], np.float32)]

        def act(self):
            return self.left.pop() if self.left else None

    line.expert = lambda robot, episode, seed: Turner(robot)
    robot = ConvertedRobot(Body(), ["action.joint:deg"])
    robot.connect()
    robot.reset(line.episodes(1, 0)[0])
    oracle = Oracle(line, robot)
    session = oracle.open("whatever")
    for _ in range(2):  # and stays there when there is nothing left to do
        (answer,) = oracle.step([session], [SEEN])
        np.testing.assert_allclose(answer.actions, [[np.rad2deg(0.5)]], rtol=1e-6)
