"""What a robot host promises of limits: no bad reading and no bad answer of a driver becomes a command."""

import numpy as np
import pytest
from tests.core.wire.conftest import RobotClient

from forehand import Contract, Field, Observation, Robot
from forehand.control.limited_robot import LimitedRobot
from forehand.errors import UnsafeMotion
from forehand.wire import RobotHost

BAD = [np.nan, np.inf, -np.inf, 1e30, -1e30]


class Arm(Robot):
    """One joint that reads ``reads``, or where it was commanded, and answers ``answer``, or what it was asked."""

    contract = Contract(
        (),
        (Field("joint", 1, unit="deg"),),
        (Field("joint", 1, unit="deg", mode="absolute", low=(-90.0,), high=(90.0,), max_velocity=(30.0,)),),
        10.0,
    )

    def __init__(self):
        self.commands, self.holds, self.angle, self.reads, self.answer = [], 0, 0.0, None, None

    def reset(self, episode=None):
        return self.observe()

    def observe(self):
        return Observation({}, np.array([self.angle if self.reads is None else self.reads], np.float32), 0.0)

    def act(self, action):
        self.commands.append(float(action[0]))
        self.angle = float(action[0])
        return action if self.answer is None else np.array(self.answer, np.float32)

    def hold(self):
        self.holds += 1


@pytest.fixture
def arm():
    return Arm()


@pytest.fixture
def hosted(arm):
    with RobotHost(arm, "tcp://127.0.0.1:0", watchdog=60).running() as host:
        robot = RobotClient(host.address)
        robot.connect()
        yield robot
        robot.close()


def to(angle):
    return np.array([angle], np.float32)


@pytest.mark.parametrize("bad", BAD)
def test_a_legal_command_after_a_bad_reading_moves_nothing_and_names_it(arm, hosted, bad):
    arm.reads = bad
    hosted.reset()
    for call in (hosted.act, hosted.step):
        with pytest.raises(UnsafeMotion, match=r"The state reads .* for joint\[0\]") as refused:
            call(to(1))
        assert f"{bad:.6g}" in str(refused.value)
    assert arm.commands == []
    arm.reads = None
    assert hosted.act(to(80)) == pytest.approx(3)  # the host is there as before


@pytest.mark.parametrize("answer", [[np.nan], [np.inf], [1.0, 2.0], []])
def test_an_answer_that_is_none_makes_the_robot_hold_and_is_named(arm, hosted, answer):
    hosted.reset()
    arm.answer = answer
    with pytest.raises(UnsafeMotion, match=r"The robot answered act\(\) with"):
        hosted.act(to(80))
    assert arm.holds == 1
    arm.answer = None
    assert hosted.act(to(80)) == pytest.approx(6)


def test_a_claim_beyond_all_bounds_moves_no_limit(arm, hosted):
    hosted.reset()
    arm.answer = [1e30]
    for _ in range(3):
        hosted.act(to(80))
    assert arm.commands == pytest.approx([3, 6, 9])


def test_limits_at_both_ends_agree(arm, hosted):
    limited = LimitedRobot(hosted)
    limited.reset()
    for _ in range(3):
        limited.act(to(80))
    limited.hold()
    arm.angle = 50.0
    limited.observe()
    limited.act(to(80))
    assert arm.commands == pytest.approx([3, 6, 9, 53])
    assert set(limited.counts) == {("joint", "velocity")}  # nothing is left for the host to cut
