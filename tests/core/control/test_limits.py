"""Whatever is wanted, what leaves keeps the limits."""

import logging
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from forehand import Contract, Field, Observation, Robot
from forehand.contracts.rotations import FORMS, form, from_axis_angle, to_axis_angle
from forehand.control.limited_robot import BY_THE_ROBOT, LimitedRobot
from forehand.control.limits import Limiter
from forehand.errors import ConfigurationError, ContractMismatch, UnsafeMotion

RATE = 10.0
JOINT = Field(
    "joint", 1, unit="rad", mode="absolute", low=(-1.0,), high=(1.5,), max_velocity=(2.0,), max_acceleration=(8.0,)
)
POSITION = Field(
    "position",
    2,
    unit="m",
    frame="base",
    mode="delta",
    low=(-0.05, -0.05),
    high=(0.05, 0.1),
    max_velocity=(0.3, 0.6),
    max_acceleration=(1.0, 1.0),
    workspace_low=(0.2, -0.3),
    workspace_high=(0.7, 0.3),
)
GRIPPER = Field("gripper", 1, mode="absolute", gripper="open", low=(-1.0,), high=(1.0,))
STATE = (Field("joint", 1, unit="rad"), Field("position", 2, unit="m", frame="base"))
CONTRACT = Contract(cameras=(), state=STATE, action=(JOINT, POSITION, GRIPPER), rate=RATE)
START = np.array([0.2, 0.4, 0.0], np.float32)
SLACK = 1e-5  # commands are float32

numbers = st.floats(width=32, allow_nan=False, allow_infinity=False)
near = st.floats(-0.25, 0.25, width=32)
wild = st.lists(st.tuples(numbers, st.one_of(near, numbers), near, numbers), min_size=1, max_size=40)


def drive(limiter, actions):
    for action in actions:
        command, _ = limiter.allow(np.array(action, np.float32))
        limiter.carried_out(command)
        yield command


@pytest.mark.slow
@settings(max_examples=300, deadline=None)
@given(wild, st.floats(-1, 1.5), st.floats(0.2, 0.7), st.floats(-0.3, 0.3))
def test_every_limit_is_kept_at_once_whatever_is_wanted(actions, joint, x, y):
    limiter = Limiter(CONTRACT)
    limiter.anchor(np.array([joint, x, y], np.float32))
    target, moved = np.array([joint, x, y], np.float32).astype(float), np.zeros(3)
    for command in drive(limiter, actions):
        assert command.dtype == np.float32
        step = np.array([command[0] - target[0], command[1], command[2]], float)
        target = target + step
        assert -1 - SLACK <= target[0] <= 1.5 + SLACK
        assert (np.array([-0.05, -0.05]) - SLACK <= step[1:]).all()
        assert (step[1:] <= np.array([0.05, 0.1]) + SLACK).all()
        assert (np.array([0.2, -0.3]) - SLACK <= target[1:]).all()
        assert (target[1:] <= np.array([0.7, 0.3]) + SLACK).all()
        assert (np.abs(step) * RATE <= np.array([2.0, 0.3, 0.6]) + SLACK * RATE).all()
        assert (np.abs(step - moved) * RATE**2 <= np.array([8.0, 1.0, 1.0]) + SLACK * RATE**2).all()
        assert -1 <= command[3] <= 1
        moved = step


@settings(max_examples=100, deadline=None)
@given(wild, st.floats(-1.2, 1.7), st.floats(0.18, 0.72))
def test_who_starts_outside_comes_inside_at_once_or_is_not_commanded(actions, joint, x):
    limiter = Limiter(CONTRACT)
    limiter.anchor(np.array([joint, x, 0], np.float32))
    steps = max((joint - 1.5) / 0.08, (-1 - joint) / 0.08, (x - 0.7) / 0.01, (0.2 - x) / 0.01)  # as acceleration allows
    assume(abs(steps - 1) > 1e-3)
    commands = drive(limiter, actions)
    if steps > 1:
        with pytest.raises(UnsafeMotion, match="Bring the robot inside its limits by hand"):
            next(commands)
        return
    for command in commands:
        assert -1 <= command[0] <= 1.5
        assert abs(command[0] - joint) <= 0.2 + SLACK
        joint, x = float(command[0]), x + float(command[1])
        assert 0.2 - SLACK <= x <= 0.7 + SLACK


BAD = [np.nan, np.inf, -np.inf, 1e30, -1e30, 3.4e38]


@pytest.mark.parametrize("bad", BAD)
def test_no_command_is_reckoned_from_a_reading_that_is_no_place(bad):
    limiter = Limiter(CONTRACT)
    for element, name in ((0, r"joint\[0\]"), (1, r"position\[0\]")):
        state = START.copy()
        state[element] = bad
        limiter.anchor(state)
        with pytest.raises(UnsafeMotion, match=name) as refused:
            limiter.allow(np.zeros(4, np.float32))
        assert f"{bad:.6g}" in str(refused.value)
        assert "state" in str(refused.value)
    limiter.anchor(START)  # a reading that is a place mends it
    limiter.allow(np.zeros(4, np.float32))


def test_a_reading_that_no_limit_needs_may_be_anything():
    contract = replace(CONTRACT, state=(*STATE, Field("torque", 1)))
    limiter = Limiter(contract)
    limiter.anchor(np.append(START, np.float32(np.nan)))
    assert limiter.allow(np.zeros(4, np.float32))[0][0] == pytest.approx(0.12)
    ranged = Limiter(Contract((), (Field("joint", 1),), (Field("joint", 1, low=(-90.0,), high=(90.0,)),), RATE))
    for reading in (np.nan, 1e30, 5.0):
        ranged.anchor(np.array([reading], np.float32))
        assert ranged.allow(np.array([95.0], np.float32))[0] == 90
        assert ranged.allow(np.array([7.0], np.float32))[0] == 7


@pytest.mark.parametrize("state", [np.zeros(2), np.zeros((1, 3)), np.array(["a"] * 3), None])
def test_a_state_that_is_none_says_so(state):
    limiter = Limiter(CONTRACT)
    limiter.anchor(state)
    with pytest.raises(UnsafeMotion, match=r"The state is .* instead of float32 \(3,\)"):
        limiter.allow(np.zeros(4, np.float32))


@pytest.mark.parametrize("limits", [{"max_velocity": (30.0,)}, {"max_acceleration": (90.0,)}])
def test_who_is_far_outside_is_not_commanded_and_told_both_limits(limits):
    field = Field("joint", 1, mode="absolute", low=(-90.0,), high=(90.0,), **limits)
    limiter = Limiter(Contract((), (Field("joint", 1),), (field,), RATE))
    limiter.anchor(np.array([150.0], np.float32))
    with pytest.raises(UnsafeMotion, match=r"joint\[0\] is at 150 by the state: .* its range of no more than -60"):
        limiter.allow(np.array([0.0], np.float32))


def test_what_the_robot_claims_to_have_done_moves_no_limit():
    field = Field("joint", 1, mode="absolute", low=(-90.0,), high=(90.0,), max_velocity=(30.0,))
    limiter = Limiter(Contract((), (Field("joint", 1),), (field,), RATE))
    limiter.anchor(np.zeros(1, np.float32))
    before = 0.0
    for claim in (1e30, -80.0, 80.0, 0.0, -1e30):
        (command,), _ = limiter.allow(np.array([80.0], np.float32))
        assert command - before == pytest.approx(3.0)
        limiter.carried_out(np.array([command]), np.array([claim], np.float32))
        before = command


def test_a_workspace_is_reckoned_by_what_relative_motion_was_done():
    field = Field("position", 1, mode="delta", low=(-0.1,), high=(0.1,), workspace_low=(0.0,), workspace_high=(1.0,))
    limiter = Limiter(Contract((), (Field("position", 1),), (field,), RATE))
    for did, left in ((0.0, 0.1), (0.05, 0.05), (-0.2, 0.1), (0.3, 0.0), (1e30, 0.0), (-1e30, 0.0)):
        limiter.anchor(np.array([0.9], np.float32))
        sent, _ = limiter.allow(np.array([0.1], np.float32))
        limiter.carried_out(sent, np.array([did], np.float32))
        assert limiter.allow(np.array([0.1], np.float32))[0] == pytest.approx(left, abs=1e-6)


def test_what_the_limiter_makes_is_checked_again(monkeypatch):
    limiter, _, to_numbers = turning("axis_angle")
    limiter.anchor(to_numbers(np.eye(3)))
    for bad in (np.nan, np.inf):
        monkeypatch.setattr(
            "forehand.control.rotation_limits.TurnLimiter.allow", lambda self, wanted, bad=bad: (wanted * bad, None)
        )
        with pytest.raises(UnsafeMotion, match=r"The limiter made (nan|inf) of turn\[0\] = 0\.3"):
            limiter.allow(np.full(3, 0.3, np.float32))


@given(st.tuples(*[numbers] * 4), st.integers(0, 3), st.sampled_from([np.nan, np.inf, -np.inf]))
def test_what_is_not_finite_is_refused(action, where, bad):
    wrong = np.array(action, np.float32)
    wrong[where] = bad
    with pytest.raises(ContractMismatch, match="4 finite numbers, and nothing was moved"):
        Limiter(CONTRACT).allow(wrong)


@pytest.mark.parametrize("wrong", [np.zeros(3), np.zeros((1, 4)), np.zeros(5), np.array(["a"] * 4)])
def test_what_is_no_action_is_refused(wrong):
    with pytest.raises(ContractMismatch, match="4 finite numbers"):
        Limiter(CONTRACT).allow(wrong)


def test_what_is_allowed_passes_untouched():
    limiter = Limiter(CONTRACT)
    limiter.anchor(START)
    wanted = np.array([0.25, 0.005, -0.005, 1.0], np.float32)
    command, cut = limiter.allow(wanted)
    assert command.tobytes() == wanted.tobytes()
    assert cut == []


def test_just_the_bound_is_not_cut():
    third = Field("position", 1, mode="delta", low=(-0.1,), high=(0.1,))
    command, cut = Limiter(Contract((), (), (third,), RATE)).allow(np.array([0.1], np.float32))
    assert (command[0], cut) == (np.float32(0.1), [])


@pytest.mark.parametrize(
    ("limits", "start", "wanted", "limit", "allowed"),
    [
        ({"low": (-1.0,), "high": (1.0,)}, 0.0, 4.0, "range", 1.0),
        ({"workspace_high": (0.5,)}, 0.0, 4.0, "workspace", 0.5),
        ({"max_velocity": (2.0,)}, 0.0, 4.0, "velocity", 0.2),
        ({"max_acceleration": (3.0,)}, 0.0, -4.0, "acceleration", -0.03),
        ({"high": (1.0,), "max_velocity": (2.0,)}, 0.9, 4.0, "range", 1.0),
        ({"high": (1.0,), "max_velocity": (2.0,)}, 0.5, 4.0, "velocity", 0.7),
    ],
)
def test_each_cut_says_which_limit_it_was_and_both_values(limits, start, wanted, limit, allowed):
    contract = Contract((), (Field("joint", 1),), (Field("joint", 1, mode="absolute", **limits),), RATE)
    limiter = Limiter(contract)
    limiter.anchor(np.array([start], np.float32))
    command, (cut,) = limiter.allow(np.array([wanted], np.float32))
    assert command[0] == pytest.approx(allowed)
    assert (cut.field, cut.element, cut.limit, cut.wanted) == ("joint", 0, limit, wanted)
    assert str(cut) == f"joint[0]: wanted {wanted:.4g}, allowed {allowed:.4g} ({limit})"


def test_it_brakes_in_time_instead_of_stopping_at_the_wall():
    field = Field("joint", 1, mode="absolute", high=(1.0,), max_acceleration=(4.0,))
    limiter = Limiter(Contract((), (Field("joint", 1),), (field,), RATE))
    limiter.anchor(np.zeros(1, np.float32))
    places = [0.0, *(float(c[0]) for c in drive(limiter, [[9.0]] * 30))]
    steps = np.diff(places)
    assert steps.max() > 0.15  # it does move fast
    assert np.abs(np.diff(steps)).max() <= 0.04 + 1e-6
    assert places[-1] == pytest.approx(1.0)


def test_after_a_hold_it_starts_from_rest():
    field = Field("motion", 1, mode="delta", max_acceleration=(1.0,))
    limiter = Limiter(Contract((), (), (field,), RATE))
    assert [round(float(c[0]), 6) for c in drive(limiter, [[9.0]] * 3)] == [0.01, 0.02, 0.03]
    limiter.rest()
    assert limiter.allow(np.array([9.0], np.float32))[0] == pytest.approx(0.01)


def test_a_gripper_that_nobody_measures_is_where_it_was_told_to_be_until_a_reset():
    field = Field("gripper", 1, mode="absolute", gripper="open", low=(-1.0,), high=(1.0,), max_velocity=(2.0,))
    for state in (Field("gripper", 1, gripper="closed"), Field("gripper", 1, low=(0.0,), high=(0.08,))):
        limiter = Limiter(Contract((), (state,), (field,), RATE))  # a state that means something else
        limiter.anchor(np.zeros(1, np.float32))
        assert [round(float(c[0]), 6) for c in drive(limiter, [[1.0], [-1.0]])] == [1.0, 0.8]
        limiter.rest()
        limiter.anchor(np.zeros(1, np.float32))
        assert limiter.allow(np.array([-1.0], np.float32))[0] == pytest.approx(0.6)
        limiter.forget()
        assert limiter.allow(np.array([-1.0], np.float32))[0] == -1


@pytest.mark.parametrize(
    ("field", "words"),
    [
        (Field("turn", 3, rotation="axis_angle", mode="absolute", max_velocity=(1.0,) * 3), "no field 'turn'"),
        (Field("turn", 3, rotation="axis_angle", mode="delta", workspace_high=(1.0,) * 3), "holds places, not turns"),
        (Field("place", 1, mode="absolute", max_velocity=(1.0,)), "no field 'place'"),
        (Field("joint", 1, frame="tool", mode="delta", workspace_low=(0.0,)), "no field 'joint'"),
        (Field("grip", 1, mode="delta", gripper="open", workspace_low=(0.0,)), "no field 'grip'"),
        (Field("push", 1, mode="delta", low=(0.1,), high=(0.2,), max_velocity=(1.0,)), "never rest"),
    ],
)
def test_a_limit_that_cannot_be_kept_is_refused_before_anything_moves(field, words):
    contract = Contract((), (Field("joint", 1, frame="base"),), (field,), RATE)
    with pytest.raises(ConfigurationError, match=words):
        Limiter(contract)


@pytest.mark.parametrize(
    ("bounds", "words"),
    [
        ({"max_velocity": (1.0, 1.0, 2.0)}, "the same number for each element"),
        ({"max_velocity": (1.0,) * 3, "high": (3.2, 1.5, 3.2)}, r"a range within ±3\.142 beside"),
    ],
)
def test_a_turn_is_limited_about_every_axis_alike_and_without_a_range(bounds, words):
    turn = Field("turn", 3, rotation="euler_xyz_extrinsic")
    with pytest.raises(ConfigurationError, match=words):
        Limiter(Contract((), (turn,), (replace(turn, mode="absolute", **bounds),), RATE))


SPIN, SWAY = 3.0, 12.0


def turning(name, unit="rad"):
    """A limiter of absolute rotations told as ``name``, and both ways between that and matrices."""
    to_matrix, to_numbers = form(name)
    scale = np.pi / 180 if unit == "deg" else 1.0
    size = len(to_numbers(np.eye(3)))
    bounds = {"max_velocity": (SPIN / scale,) * size, "max_acceleration": (SWAY / scale,) * size}
    turn = Field("turn", size, unit=unit, rotation=name)
    contract = Contract((), (turn,), (replace(turn, mode="absolute", **bounds),), RATE)
    return Limiter(contract), lambda n: to_matrix(n * scale), lambda m: (to_numbers(m) / scale).astype(np.float32)


def angle(matrix):
    return np.linalg.norm(to_axis_angle(matrix))


@settings(max_examples=100, deadline=None)
@given(
    st.sampled_from([(name, "rad") for name in FORMS] + [("euler_xyz_extrinsic", "deg")]),
    st.lists(st.tuples(*[st.floats(-3, 3)] * 3), min_size=2, max_size=20),
)
def test_an_absolute_rotation_turns_no_faster_than_allowed_about_any_axis(told, vectors):
    limiter, to_matrix, to_numbers = turning(*told)
    target, *wanted = (from_axis_angle(v) for v in vectors)
    limiter.anchor(to_numbers(target))
    moved = np.zeros(3)
    for rotation in wanted:
        command, _ = limiter.allow(to_numbers(rotation))
        limiter.carried_out(command)
        step = to_axis_angle(to_matrix(command.astype(float)) @ target.T)
        assert np.linalg.norm(step) * RATE <= SPIN + 1e-3
        assert np.linalg.norm(step - moved) * RATE**2 <= SWAY + 1e-2
        target, moved = to_matrix(command.astype(float)), step


@pytest.mark.parametrize("name", FORMS)
def test_a_turn_comes_to_where_it_shall_the_short_way_and_is_untouched_then(name):
    limiter, to_matrix, to_numbers = turning(name)
    start, end = from_axis_angle([0, 0, 3.0]), from_axis_angle([0, 0, -3.0])
    limiter.anchor(to_numbers(start))
    way = [command.astype(float) for command in drive(limiter, [to_numbers(end)] * 30)]
    assert max(angle(to_matrix(command) @ end.T) for command in way) < 0.5  # not all the way round
    np.testing.assert_array_equal(way[-1].astype(np.float32), to_numbers(end))
    assert limiter.allow(to_numbers(end))[1] == []


def test_what_is_no_rotation_moves_nothing():
    limiter, _, to_numbers = turning("quaternion_xyzw")
    limiter.anchor(to_numbers(np.eye(3)))
    with pytest.raises(ContractMismatch, match="must be a rotation, and nothing was moved"):
        limiter.allow(np.zeros(4, np.float32))


@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize("told", [(name, "rad") for name in FORMS] + [("axis_angle", "deg")])
def test_no_turn_is_reckoned_from_a_reading_that_is_no_rotation(told, bad):
    limiter, _, to_numbers = turning(*told)
    state = to_numbers(np.eye(3))
    state[0] = bad
    limiter.anchor(state)
    assert limiter.place_unknown
    with pytest.raises(UnsafeMotion, match="for 'turn', which is no rotation"):
        limiter.allow(to_numbers(from_axis_angle([0, 0, 1.0])))
    limiter.anchor(to_numbers(np.eye(3)))
    assert not limiter.place_unknown


def test_angles_beyond_all_reason_are_no_rotation():
    limiter, _, to_numbers = turning("axis_angle")
    limiter.anchor(to_numbers(np.eye(3)))
    with pytest.raises(ContractMismatch, match="must be a rotation, and nothing was moved"):
        limiter.allow(np.array([0, 0, 1e30], np.float32))


class Arm(Robot):
    """One joint, which slips by half of what is commanded beyond 0.5 rad."""

    contract = Contract(
        (),
        (Field("joint", 1),),
        (Field("joint", 1, mode="absolute", low=(-1.0,), high=(1.0,), max_velocity=(2.0,)),),
        RATE,
    )

    def reset(self, episode=None):
        self.angle, self.calls = 0.0, []
        return self.observe()

    def observe(self):
        return Observation({}, np.array([self.angle], np.float32), 0.0)

    def act(self, action):
        self.angle = min(float(action[0]), 0.5)
        self.calls.append(round(self.angle, 6))
        return np.array([self.angle], np.float32)

    def hold(self):
        self.calls.append("hold")


def test_a_robot_behind_limits_is_told_only_what_is_allowed(caplog):
    robot = Arm()
    limited = LimitedRobot(robot)
    limited.reset()
    with caplog.at_level(logging.WARNING, "forehand"):
        limited.act(np.array([9.0], np.float32))
        limited.step(np.array([9.0], np.float32))
    assert robot.calls == [0.2, 0.4]
    assert limited.counts == {("joint", "velocity"): 2}
    (line,) = [r.getMessage() for r in caplog.records]  # the first of its kind, and no more
    assert line.startswith("a limit was hit: joint[0]: wanted 9, allowed 0.2 (velocity)")


def test_what_the_robot_itself_cuts_is_counted_and_reckoned_with():
    limited = LimitedRobot(Arm())
    limited.reset()
    for _ in range(4):
        commanded = limited.act(np.array([9.0], np.float32))
    assert commanded == 0.5
    assert limited.counts[("joint", BY_THE_ROBOT)] == 2
    assert limited.latest[-1].limit == BY_THE_ROBOT


def test_after_a_hold_the_next_command_starts_from_where_the_robot_is():
    robot = Arm()
    limited = LimitedRobot(robot)
    limited.reset()
    limited.act(np.array([9.0], np.float32))
    limited.hold()
    robot.angle = -0.5  # it was moved by hand
    limited.observe()
    assert limited.act(np.array([9.0], np.float32)) == pytest.approx(-0.3)


def test_a_robot_without_limits_is_driven_as_ever():
    robot = Arm()
    robot.contract = replace(Arm.contract, action=(Field("joint", 1),))
    limited = LimitedRobot(robot)
    limited.reset()
    assert limited.act(np.array([0.4], np.float32)) == np.float32(0.4)
    assert limited.counts == {}
