"""Two sides are compared before anything moves."""

import math
from dataclasses import replace

import numpy as np
import pytest

from forehand import Camera, Contract, Field
from forehand.contracts.compatibility import differences, require_fit, restrictions
from forehand.contracts.conversion import parse
from forehand.errors import ConfigurationError, ContractMismatch

ARM = Field("position", 3, unit="m", frame="base", mode="delta", low=(-0.02,) * 3, high=(0.02,) * 3)
GRIPPER = Field("gripper", 1, unit="1", gripper="open", low=(-1.0,), high=(1.0,))
CONTRACT = Contract(
    cameras=(Camera("static", 128, 128, "static"), Camera("wrist", 128, 128, "wrist")),
    state=(Field("joints", 7, unit="rad"),),
    action=(ARM, GRIPPER),
    rate=20.0,
)


def test_sizes_add_up():
    assert (CONTRACT.state_size, CONTRACT.action_size) == (7, 4)


def test_a_contract_fits_itself_and_survives_json():
    again = Contract.from_json(CONTRACT.to_json())
    assert again == CONTRACT
    assert differences(CONTRACT, again) == []
    require_fit(CONTRACT, again, "the policy", "the robot")


def test_extra_cameras_are_fine_and_missing_ones_are_named():
    one = replace(CONTRACT, cameras=CONTRACT.cameras[:1])
    assert differences(needed=one, offered=CONTRACT) == []
    (found,) = differences(needed=CONTRACT, offered=one)
    assert "wrist" in found.where
    assert found.offered == ["static"]


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"cameras": (Camera("static", 96, 128), CONTRACT.cameras[1])}, "camera 'static' height"),
        ({"action": (replace(ARM, mode="absolute"), GRIPPER)}, "action field 'position' mode"),
        ({"action": (replace(ARM, unit="mm"), GRIPPER)}, "action field 'position' unit"),
        ({"action": (ARM, replace(GRIPPER, gripper="closed"))}, "action field 'gripper' gripper"),
        ({"action": (ARM,)}, "action fields"),
        ({"state": (Field("joints", 6, unit="rad"),)}, "state field 'joints' size"),
        ({"rate": 10.0}, "control rate"),
    ],
)
def test_every_difference_is_named_with_both_values(change, where):
    other = replace(CONTRACT, **change)
    with pytest.raises(ContractMismatch, match="Nothing was moved") as caught:
        require_fit(CONTRACT, other, "the policy", "the robot")
    assert where in str(caught.value)
    (found,) = differences(CONTRACT, other)
    assert repr(found.needed) in str(caught.value)
    assert repr(found.offered) in str(caught.value)


def test_all_differences_are_told_at_once():
    other = replace(CONTRACT, rate=5.0, action=(replace(ARM, frame="end_effector"), GRIPPER))
    assert [m.where for m in differences(CONTRACT, other)] == [
        "action field 'position' frame",
        "control rate (Hz)",
    ]


def test_what_either_side_leaves_unstated_is_not_compared():
    vague = replace(CONTRACT, action=(Field("position", 3), Field("gripper", 1)))
    assert differences(CONTRACT, vague) == []
    assert differences(vague, CONTRACT) == []


GUARDED = replace(
    ARM,
    max_velocity=(0.2,) * 3,
    max_acceleration=(1.0,) * 3,
    workspace_low=(0.3, -0.3, 0.0),
    workspace_high=(0.7, 0.3, 0.4),
)


def test_what_protects_a_robot_survives_json_and_keeps_nobody_out():
    guarded = replace(CONTRACT, action=(GUARDED, GRIPPER))
    assert Contract.from_json(guarded.to_json()) == guarded
    stricter = replace(CONTRACT, action=(replace(GUARDED, max_velocity=(0.1,) * 3), GRIPPER))
    assert differences(guarded, stricter) == differences(stricter, guarded) == []


@pytest.mark.parametrize(
    "change",
    [
        {"max_velocity": (0.2, 0.1, 0.2)},
        {"max_acceleration": (0.5,) * 3},
        {"workspace_low": (0.3, -0.3, 0.1)},
        {"workspace_high": (0.6, 0.3, 0.4)},
    ],
    ids=lambda change: next(iter(change)),
)
def test_where_a_robot_is_allowed_less_than_a_policy_was_shown_is_told(change):
    shown = replace(CONTRACT, action=(GUARDED, GRIPPER))
    robot = replace(CONTRACT, action=(replace(GUARDED, **change), GRIPPER))
    (found,) = restrictions(shown, robot)
    assert found.where == f"action field 'position' {next(iter(change))}"
    assert restrictions(robot, shown) == restrictions(shown, CONTRACT) == restrictions(CONTRACT, shown) == []


@pytest.mark.parametrize(
    ("bounds", "words"),
    [
        ({"max_velocity": (1.0,)}, "3 elements but a bound of 1"),
        ({"max_velocity": (1.0, 0.0, 1.0)}, "not positive"),
        ({"workspace_low": (0.0,) * 3, "workspace_high": (0.0, -1.0, 0.0)}, "above its upper bound"),
        ({"low": (2.0,) * 3, "high": (1.0,) * 3}, "above its upper bound"),
        ({"low": (0.0, math.nan, 0.0)}, "no number"),
        ({"workspace_high": (0.0, math.nan, 0.0)}, "no number"),
        ({"max_velocity": (1.0, math.nan, 1.0)}, "no number"),
        ({"low": (math.inf,) * 3, "high": (math.inf,) * 3}, "nothing finite"),
        ({"workspace_high": (-math.inf,) * 3}, "nothing finite"),
    ],
)
def test_bounds_that_make_no_sense_are_refused(bounds, words):
    with pytest.raises(ValueError, match=words):
        Field("position", 3, **bounds)


def test_a_bound_needs_one_number_for_each_element():
    with pytest.raises(ValueError, match="3 elements but a bound of 2"):
        Field("position", 3, low=(0.0, 0.0))


@pytest.mark.parametrize(
    "data",
    [
        {},
        {**CONTRACT.to_dict(), "rate": None},
        {**CONTRACT.to_dict(), "rate": True},
        {**CONTRACT.to_dict(), "rate": "15"},
        {**CONTRACT.to_dict(), "state": [{"name": "joints"}]},
        {**CONTRACT.to_dict(), "state": [{"name": "joints", "size": 7, "colour": "red"}]},
    ],
)
def test_what_is_no_contract_is_refused(data):
    with pytest.raises(ContractMismatch, match="contract"):
        Contract.from_dict(data)


@pytest.mark.parametrize("rate", [0.0, -1.0, math.nan, math.inf])
def test_a_rate_is_a_positive_number(rate):
    with pytest.raises(ConfigurationError, match=f"rate is a positive number of Hz, not {rate}"):
        replace(CONTRACT, rate=rate)
    with pytest.raises(ContractMismatch, match="rate is a positive number"):
        Contract.from_dict({**CONTRACT.to_dict(), "rate": rate})


def test_an_unknown_camera_is_answered_with_the_known_ones():
    with pytest.raises(KeyError, match="static"):
        CONTRACT.camera("stattic")


def test_how_pictures_lie_is_compared_where_both_sides_state_it():
    raw, upright = (
        replace(CONTRACT, cameras=(replace(CONTRACT.camera("static"), orientation=how),))
        for how in ("flipped_vertically", "upright")
    )
    assert Contract.from_json(raw.to_json()) == raw
    assert [d.where for d in differences(raw, upright)] == ["camera 'static' orientation"]
    assert differences(replace(raw, cameras=CONTRACT.cameras[:1]), upright) == []
    assert "orientation" not in CONTRACT.to_json()  # which earlier releases read
    with pytest.raises(ContractMismatch, match="upright"):
        Contract.from_json(raw.to_json().replace("flipped_vertically", "uprigth"))


def test_pictures_are_turned_by_name():
    picture = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    raw = replace(CONTRACT, cameras=(Camera("static", 2, 2, orientation="flipped_vertically"),))
    (turn,), contract = parse(["camera.static:rotated_180"], raw)
    assert contract.camera("static").orientation == "rotated_180"
    assert np.array_equal(turn.apply({"static": picture})["static"], picture[:, ::-1])
    with pytest.raises(ConfigurationError, match="not stated how"):
        parse(["camera.static:upright"], CONTRACT)
