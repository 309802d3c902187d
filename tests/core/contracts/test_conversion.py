"""Conversions are exact, are undone on the way back, and are offered by name where contracts differ."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from forehand import Camera, Contract, Field, Observation, Robot
from forehand.conformance import assert_robot_conforms
from forehand.contracts.compatibility import differences, possible_conversions, require_fit
from forehand.contracts.conversion import parse
from forehand.contracts.rotations import FORMS
from forehand.control.converted_robot import ConvertedRobot
from forehand.errors import ConfigurationError, ContractMismatch

CONTRACT = Contract(
    cameras=(Camera("front", 12, 16, "static"), Camera("hand", 8, 8, "wrist")),
    state=(
        Field("position", 3, unit="m", frame="base"),
        Field("rotation", 3, unit="rad", rotation="euler_xyz_extrinsic"),
        Field("gripper", 1, gripper="open", low=(0.0,), high=(0.08,)),
    ),
    action=(
        Field("position", 3, unit="m", mode="delta", low=(-0.02,) * 3, high=(0.04,) * 3, max_velocity=(0.5,) * 3),
        Field("rotation", 3, unit="rad", rotation="axis_angle", mode="delta"),
        Field("gripper", 1, mode="absolute", gripper="open", low=(-1.0,), high=(1.0,)),
    ),
    rate=10.0,
)


class Puppet(Robot):
    """Is wherever it was told to be last."""

    def __init__(self):
        self.contract, self.told, self.time = CONTRACT, np.zeros(7, np.float32), 0.0

    def reset(self, episode=None):
        self.told, self.time = np.array([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.02], np.float32), 0.0
        return self.observe()

    def observe(self):
        self.time += 0.01
        images = {c.name: np.full((c.height, c.width, 3), 7, np.uint8) for c in CONTRACT.cameras}
        return Observation(images, self.told.copy(), self.time)

    def act(self, action):
        if action.shape != (7,) or not np.isfinite(action).all():
            raise ValueError("no action")
        self.told = np.array(action, np.float32)
        return self.told.copy()

    def hold(self):
        pass


SCIPY = {
    "euler_xyz_extrinsic": (partial(Rotation.from_euler, "xyz"), lambda r: r.as_euler("xyz")),
    "axis_angle": (Rotation.from_rotvec, Rotation.as_rotvec),
    "quaternion_xyzw": (Rotation.from_quat, partial(Rotation.as_quat, canonical=True)),
    "quaternion_wxyz": (
        partial(Rotation.from_quat, scalar_first=True),
        partial(Rotation.as_quat, canonical=True, scalar_first=True),
    ),
    "rotation_6d": (None, lambda r: r.as_matrix()[:, :2].T.ravel()),
}


def test_every_form_of_rotation_has_a_reference():
    assert SCIPY.keys() == FORMS.keys()


@pytest.mark.parametrize("there", FORMS)
@pytest.mark.parametrize("here", FORMS)
def test_rotations_convert_as_scipy_does_and_come_back(here, there):
    size = len(FORMS[here][1](np.eye(3)))
    field = Field("rotation", size, unit="rad" if size == 3 else "1", rotation=here)
    (step,), contract = parse([f"state.rotation:{there}"], replace(CONTRACT, state=(field,)))
    assert contract.state[0].rotation == there
    for rotation in Rotation.random(50, rng=np.random.default_rng(0)):
        mine = SCIPY[here][1](rotation)
        theirs = step.forward(mine)
        assert len(theirs) == contract.state[0].size
        np.testing.assert_allclose(theirs, SCIPY[there][1](rotation), atol=1e-9)
        np.testing.assert_allclose(step.backward(theirs), mine, atol=1e-9)


@pytest.mark.parametrize(
    ("name", "before", "after"),
    [
        ("state.position:mm", [0.1, 0.2, -0.3], [100, 200, -300]),
        ("state.position:cm", [0.1, 0.2, -0.3], [10, 20, -30]),
        ("state.rotation:deg", [np.pi / 2, 0, -np.pi], [90, 0, -180]),
        ("state.gripper:closed", [0.02], [0.06]),
        ("state.gripper:0..1", [0.02], [0.25]),
        ("state.gripper:-1..1", [0.02], [-0.5]),
        ("state.position:name:place", [1, 2, 3], [1, 2, 3]),
    ],
)
def test_numbers_convert_exactly_and_come_back(name, before, after):
    (step,), _ = parse([name], CONTRACT)
    np.testing.assert_allclose(step.forward(np.array(before)), after, atol=1e-12)
    np.testing.assert_allclose(step.backward(np.array(after)), before, atol=1e-12)


def test_every_bound_of_a_field_goes_with_its_numbers():
    millimetres = parse(["action.position:mm"], CONTRACT)[1].action[0]
    assert (millimetres.unit, millimetres.low, millimetres.high) == ("mm", (-20.0,) * 3, (40.0,) * 3)
    assert millimetres.max_velocity == (500.0,) * 3
    closed = parse(["state.gripper:closed"], CONTRACT)[1].state[2]
    assert (closed.gripper, closed.low, closed.high) == ("closed", (0.0,), (0.08,))
    limited = replace(CONTRACT.action[2], max_velocity=(4.0,), workspace_low=(-0.5,), workspace_high=(1.0,))
    contract = replace(CONTRACT, action=(*CONTRACT.action[:2], limited))
    turned = parse(["action.gripper:closed", "action.gripper:0..1"], contract)[1].action[2]
    assert (turned.low, turned.high, turned.max_velocity) == ((0.0,), (1.0,), (2.0,))
    assert (turned.workspace_low, turned.workspace_high) == ((0.0,), (0.75,))


STEPS = [
    "camera.front:static",
    "camera.static:6x8",
    "state.rotation:quaternion_xyzw",
    "state.position:mm",
    "action.position:cm",
    "action.rotation:rotation_6d",
    "action.gripper:closed",
    "action.gripper:0..1",
]


def test_a_converted_robot_conforms():
    assert_robot_conforms(lambda: ConvertedRobot(Puppet(), [s for s in STEPS if "6d" not in s]))


def test_a_converted_robot_speaks_in_the_other_contract_and_moves_in_its_own():
    puppet = Puppet()
    robot = ConvertedRobot(puppet, STEPS)
    robot.connect()
    seen = robot.reset()
    assert [(c.name, c.height, c.width) for c in robot.contract.cameras] == [("static", 6, 8), ("hand", 8, 8)]
    assert {name: image.shape for name, image in seen.images.items()} == {"static": (6, 8, 3), "hand": (8, 8, 3)}
    np.testing.assert_allclose(seen.state[:3], [100, 200, 300], rtol=1e-6)
    np.testing.assert_allclose(seen.state[3:7], Rotation.from_euler("xyz", [0.4, 0.5, 0.6]).as_quat(), rtol=1e-5)
    turn = Rotation.from_rotvec([0.1, -0.2, 0.3])
    action = np.concatenate([[1, 2, -1], turn.as_matrix()[:, :2].T.ravel(), [0.25]]).astype(np.float32)
    np.testing.assert_allclose(robot.act(action), action, atol=1e-6)
    np.testing.assert_allclose(puppet.told, [0.01, 0.02, -0.01, 0.1, -0.2, 0.3, 0.5], atol=1e-6)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("rotation:deg", "is no conversion"),
        ("state.rotation", "is no conversion"),
        ("state.rotaton:deg", "Did you mean 'rotation'"),
        ("camera.fornt:static", "Did you mean 'front'"),
        ("camera.front:hand", "another camera 'hand'"),
        ("state.rotation:axis_angel", "neither a form of rotations"),
        ("state.position:axis_angle", "stated as no rotation in m"),
        ("state.position:deg", "in m, which does not become deg"),
        ("state.position:0..1", "range of 'position' is not stated"),
        ("state.rotation:open", "not stated what a larger number"),
        ("state.gripper:1..0", "is no range"),
    ],
)
def test_what_cannot_be_converted_says_why(name, says):
    with pytest.raises(ConfigurationError, match=says):
        parse([name], CONTRACT)


def test_what_protects_a_robot_is_never_lost():
    limited = replace(CONTRACT.action[1], max_velocity=(1.0,) * 3)
    contract = replace(CONTRACT, action=(CONTRACT.action[0], limited, CONTRACT.action[2]))
    with pytest.raises(ConfigurationError, match="protects the robot in 'rotation' could not be kept"):
        parse(["action.rotation:quaternion_xyzw"], contract)


@pytest.mark.parametrize("protected", [{"max_velocity": (1.0,) * 3}, {"max_acceleration": (1.0,) * 3}])
def test_a_speed_is_not_kept_where_no_motion_is_not_zero(protected):
    bare = replace(CONTRACT.action[0], max_velocity=None)
    for field, fits in ((bare, True), (replace(bare, **protected), False)):
        contract = replace(CONTRACT, action=(field, *CONTRACT.action[1:]))
        if fits:
            parse(["action.position:0..1"], contract)
        else:
            with pytest.raises(ConfigurationError, match="'position' could not be kept where no motion is not 0"):
                parse(["action.position:0..1"], contract)
        parse(["action.position:mm"], contract)


@pytest.mark.parametrize(
    "steps",
    [
        ["camera.front:static"],
        ["camera.front:static", "camera.static:6x8"],
        ["state.rotation:quaternion_xyzw"],
        ["state.rotation:rotation_6d", "action.rotation:euler_xyz_extrinsic"],
        ["state.position:mm", "state.rotation:deg"],
        ["action.gripper:closed", "action.gripper:0..1", "action.gripper:name:grip"],
    ],
)
def test_what_makes_a_robot_fit_is_offered_by_name(steps):
    needed = parse(steps, CONTRACT)[1]
    assert possible_conversions(needed, CONTRACT) == steps
    with pytest.raises(ContractMismatch) as refused:
        require_fit(needed, CONTRACT, "the policy", "the robot")
    assert f"exactly these conversions make it fit: 'robot.convert=[{','.join(steps)}]'" in str(refused.value)
    for mismatch in differences(needed, CONTRACT):
        assert str(mismatch) in str(refused.value)
    require_fit(needed, parse(steps, CONTRACT)[1], "the policy", "the robot")


def test_degrees_in_another_form_are_converted_in_the_right_order():
    needed = parse(["state.rotation:axis_angle"], CONTRACT)[1]
    offered = parse(["state.rotation:deg"], CONTRACT)[1]
    names = possible_conversions(needed, offered)
    assert names == ["state.rotation:rad", "state.rotation:axis_angle"]
    assert differences(needed, parse(names, offered)[1]) == []


def test_what_no_conversion_mends_is_told():
    needed = replace(parse(["state.position:mm"], CONTRACT)[1], rate=20.0)
    with pytest.raises(ContractMismatch, match=r"converts some of it, but leaves control rate \(Hz\): needed 20"):
        require_fit(needed, CONTRACT, "the policy", "the robot")
    absolute = replace(CONTRACT.action[0], mode="absolute")
    with pytest.raises(ContractMismatch, match=r"mode: needed 'absolute', offered 'delta'(?s:.*)Use a robot"):
        require_fit(replace(CONTRACT, action=(absolute, *CONTRACT.action[1:])), CONTRACT, "the policy", "the robot")
