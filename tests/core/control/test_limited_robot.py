"""What a driver reads, answers or raises never becomes a command that breaks a limit."""

import logging
from dataclasses import replace

import numpy as np
import pytest

from forehand import Contract, Field, Observation, Robot
from forehand.control.converted_robot import ConvertedRobot
from forehand.control.limited_robot import LimitedRobot
from forehand.errors import ConfigurationError, ContractMismatch, UnsafeMotion

JOINT = Field("joint", 1, unit="deg", mode="absolute", low=(-90.0,), high=(90.0,), max_velocity=(30.0,))
CONTRACT = Contract((), (Field("joint", 1, unit="deg"),), (JOINT,), 10.0)
BAD = [np.nan, np.inf, -np.inf, 1e30, -1e30, 150.0]


class Arm(Robot):
    """One joint that reads ``reads``, or where it was commanded; ``answers`` and ``fails`` are what else it does."""

    def __init__(self, contract=CONTRACT):
        self.contract = contract
        self.calls, self.reads, self.angle = [], None, 0.0
        self.answers, self.fails = (lambda action: action), set()

    def did(self, what):
        self.calls.append(what)
        if what in self.fails or (isinstance(what, float) and "act" in self.fails):
            raise OSError("the cable came off")

    def reset(self, episode=None):
        self.did("reset")
        return self.observe()

    def observe(self):
        return Observation({}, np.array([self.angle if self.reads is None else self.reads], np.float32), 0.0)

    def act(self, action):
        self.did(round(float(action[0]), 4))
        self.angle = float(action[0])
        return self.answers(action)

    def hold(self):
        self.did("hold")


def to(angle):
    return np.array([angle], np.float32)


@pytest.mark.parametrize("bad", BAD)
def test_no_command_follows_a_bad_reading_at_reset(bad):
    arm = Arm()
    limited = LimitedRobot(arm)
    arm.reads = bad
    limited.reset()
    for call in (limited.act, limited.step):
        with pytest.raises(UnsafeMotion, match=r"joint\[0\]") as refused:
            call(to(80))
        assert f"{np.float32(bad):.6g}" in str(refused.value)
    assert arm.calls == ["reset"]  # it stands still already
    arm.reads = None
    limited.act(to(80))
    assert arm.calls[1:] == [3.0]


@pytest.mark.parametrize("bad", BAD)
def test_no_command_follows_a_bad_reading_after_a_hold(bad):
    arm = Arm()
    limited = LimitedRobot(arm)
    limited.reset()
    limited.act(to(80))
    arm.reads = bad
    limited.observe()
    limited.act(to(80))  # on its way, it is where it was commanded to
    limited.hold()
    with pytest.raises(UnsafeMotion, match=r"joint\[0\]"):
        limited.act(to(80))
    assert arm.calls == ["reset", 3.0, 6.0, "hold"]


def test_after_a_hold_it_looks_where_it_is_before_it_moves():
    arm = Arm()
    limited = LimitedRobot(arm)
    limited.act(to(80))  # and before the first reset
    limited.hold()
    arm.angle = -40.0
    limited.act(to(80))
    assert arm.calls == [3.0, "hold", -37.0]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_no_action_makes_it_hold_and_is_named(bad):
    arm = Arm()
    limited = LimitedRobot(arm)
    limited.reset()
    limited.act(to(80))
    with pytest.raises(ContractMismatch, match=rf"joint\[0\] of the action is {bad}\. The robot was commanded to hold\."):
        limited.act(to(bad))
    assert arm.calls == ["reset", 3.0, "hold"]


def test_a_hold_that_fails_is_told():
    arm = Arm()
    limited = LimitedRobot(arm)
    limited.reset()
    limited.act(to(80))
    arm.fails = {"hold"}
    with pytest.raises(ContractMismatch, match=r"whether the robot holds is unknown.*OSError: the cable came off"):
        limited.act(to(np.nan))


@pytest.mark.parametrize(
    "answer", [[np.nan], [np.inf], [-np.inf], [1e39], [1.0, 2.0], [[1.0]], 1.0, None, ["a"], [None]], ids=str
)
def test_an_answer_that_is_none_makes_it_hold_and_is_named(answer):
    arm = Arm()
    arm.answers = lambda action: None if answer is None else np.array(answer)
    limited = LimitedRobot(arm)
    limited.reset()
    with pytest.raises(UnsafeMotion, match=r"The robot answered act\(\) with"):
        limited.act(to(80))
    arm.answers = lambda action: action
    limited.act(to(80))
    assert arm.calls == ["reset", 3.0, "hold", 6.0]


@pytest.mark.parametrize("claim", [1e30, -80.0, 80.0, 0.0])
def test_an_answer_that_is_wrong_moves_no_limit(claim):
    arm = Arm()
    arm.answers = lambda action: to(claim)
    limited = LimitedRobot(arm)
    limited.reset()
    for _ in range(3):
        limited.act(to(80))
    assert arm.calls == ["reset", 3.0, 6.0, 9.0]


@pytest.mark.parametrize("call", ["act", "step"])
def test_a_robot_that_fails_while_it_acts_holds_and_starts_from_where_it_is(call, caplog):
    arm = Arm()
    limited = LimitedRobot(arm)
    limited.reset()
    arm.fails = {"act"}
    with pytest.raises(OSError, match="the cable came off"), caplog.at_level(logging.WARNING, "forehand"):
        getattr(limited, call)(to(80))
    assert (
        "the robot failed while it acted (OSError: the cable came off). The robot was commanded to hold." in caplog.text
    )
    arm.fails, arm.angle = set(), 20.0
    getattr(limited, call)(to(80))
    assert arm.calls == ["reset", 3.0, "hold", 23.0]


def test_another_contract_after_connecting_anew_has_its_own_limits():
    arm = Arm()
    limited = LimitedRobot(arm)
    limited.connect()
    limited.reset()
    arm.contract = replace(CONTRACT, action=(replace(JOINT, max_velocity=(10.0,)),))
    limited.connect()
    limited.reset()
    limited.act(to(80))
    assert arm.calls == ["reset", "reset", 1.0]


def test_limits_that_cannot_be_kept_are_refused_before_anything_moves_and_keep_no_hold_away():
    arm = Arm(replace(CONTRACT, state=(Field("torque", 1),)))
    limited = LimitedRobot(arm)
    for call in (limited.reset, lambda: limited.act(to(1)), lambda: limited.step(to(1))):
        with pytest.raises(ConfigurationError, match="no field 'joint'"):
            call()
    limited.hold()
    limited.stop()
    assert arm.calls == ["hold", "hold"]


def test_a_robot_without_a_state_is_limited_too():
    arm = Arm(Contract((), (), (Field("joint", 1, low=(-1.0,), high=(1.0,)),), 10.0))
    arm.observe = lambda: Observation({}, np.zeros(0, np.float32), 0.0)
    limited = LimitedRobot(arm)
    limited.reset()
    limited.act(to(80))
    assert arm.calls == ["reset", 1.0]


def test_a_conversion_that_overflows_moves_nothing():
    tiny = replace(CONTRACT, action=(Field("joint", 1, mode="absolute", low=(-3e38,), high=(3e38,)),))
    arm = Arm(tiny)
    limited = LimitedRobot(ConvertedRobot(arm, ["action.joint:-1..1"]))
    limited.reset()
    limited.act(to(1))
    assert np.isfinite(arm.angle)
    bare = ConvertedRobot(Arm(replace(tiny, action=(Field("joint", 1, unit="mm"),))), ["action.joint:m"])
    with pytest.raises(UnsafeMotion, match=r"robot\.convert make joint\[0\] = inf"):
        bare.act(to(3e38))
    assert bare.robot.calls == []


def test_a_range_that_a_conversion_does_not_know_is_kept_all_the_same():
    turn = Field("turn", 3, unit="rad", rotation="axis_angle", mode="delta", low=(-0.1,) * 3, high=(0.1,) * 3)
    arm = Arm(Contract((), (), (turn,), 10.0))
    asked = []
    arm.act = lambda action: asked.append(action) or action
    converted = ConvertedRobot(arm, ["action.turn:rotation_6d"])
    assert converted.contract.action[0].low is None
    converted.act(np.array([0, 1, 0, -1, 0, 0], np.float32))  # a quarter turn about z
    np.testing.assert_allclose(asked, [[0, 0, 0.1]], atol=1e-6)


def test_an_answer_that_is_none_is_told_through_conversions():
    arm = Arm()
    arm.answers = lambda action: None
    limited = LimitedRobot(ConvertedRobot(arm, ["action.joint:rad", "state.joint:rad"]))
    limited.reset()
    with pytest.raises(UnsafeMotion, match=r"answered act\(\) with None"):
        limited.act(to(1))
    assert arm.calls == ["reset", 3.0, "hold"]
