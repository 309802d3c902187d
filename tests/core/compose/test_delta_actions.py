"""Delta actions and their inverse, against the rotations of one pose at a time."""

import warnings
from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from forehand import Contract, Field
from forehand.compose.delta_actions import FRAMES, REFERENCES, DeltaActions, read_actions
from forehand.compose.delta_fields import SIZES
from forehand.contracts.rotations import FORMS, form
from forehand.errors import ConfigurationError

FORM_NAMES = list(FORMS)
GRIPPER = Field("gripper", 1, gripper="open", low=(0.0,), high=(1.0,))
CHUNK = 5


def pose(name: str, **stated) -> tuple[Field, ...]:
    turned = Field("rotation", SIZES[name], rotation=name, mode="absolute")
    return Field("position", 3, unit="m", frame="base", mode="absolute", low=(-1,) * 3, high=(1,) * 3, **stated), turned


def contract_of(action: tuple[Field, ...], state: tuple[Field, ...] | None = None) -> Contract:
    return Contract((), action if state is None else state, action, 10.0)


def poses(generator: np.random.Generator, name: str, *shape: int) -> np.ndarray:
    """Random positions and rotations of all directions and angles, and a gripper."""
    count = int(np.prod(shape))
    turned = np.stack([form(name)[1](m) for m in Rotation.random(count, rng=generator).as_matrix()])
    numbers = np.concatenate([generator.normal(size=(count, 3)), turned, generator.random((count, 1))], axis=1)
    return numbers.reshape(*shape, -1)


def error(name: str, one: np.ndarray, other: np.ndarray) -> float:
    """The largest difference of positions and grippers, and of rotations as matrices."""
    matrices = [np.stack([form(name)[0](x) for x in a[..., 3:-1].reshape(-1, SIZES[name])]) for a in (one, other)]
    plain = [np.delete(a, range(3, a.shape[-1] - 1), axis=-1) for a in (one, other)]
    return max(np.abs(plain[0] - plain[1]).max(), np.abs(matrices[0] - matrices[1]).max())


def test_all_forms_of_the_contract_are_known():
    assert {name: len(to(np.eye(3))) for name, (_, to) in FORMS.items()} == SIZES


@pytest.mark.parametrize("frame", FRAMES)
@pytest.mark.parametrize("relative_to", REFERENCES)
@pytest.mark.parametrize("name", FORM_NAMES)
def test_the_inverse_is_exact_for_random_rotations_of_every_form(name, relative_to, frame):
    generator = np.random.default_rng(0)
    state, actions = poses(generator, name, 7, 3), poses(generator, name, 7, 3, CHUNK)
    fields = (*pose(name), GRIPPER)
    for predicted in (None, "rotation_6d", "axis_angle"):
        deltas = DeltaActions(contract_of(fields), relative_to=relative_to, frame=frame, rotation=predicted)
        given = deltas.to_delta(actions, state)
        assert given.shape == (7, 3, CHUNK, sum(f.size for f in deltas.fields))
        assert error(name, deltas.to_absolute(given, state), actions) < 1e-7  # also next to the forms' singularities
        served = deltas.to_absolute(given.astype(np.float32), state.astype(np.float32)).astype(np.float32)
        assert error(name, served, actions) < 1e-6 * (CHUNK if relative_to == "previous" else 1)


@pytest.mark.parametrize("name", FORM_NAMES)
def test_deltas_are_those_of_one_pose_at_a_time(name):
    generator = np.random.default_rng(1)
    state, actions = poses(generator, name, 4), poses(generator, name, 4, CHUNK)
    contract = contract_of((*pose(name), GRIPPER))
    to_matrix, _ = form(name)
    for relative_to in REFERENCES:
        base = DeltaActions(contract, relative_to=relative_to, rotation="axis_angle").to_delta(actions, state)
        inner = DeltaActions(contract, relative_to=relative_to, frame="end_effector", rotation="rotation_6d")
        moving = inner.to_delta(actions, state)
        for i in range(4):
            for k in range(CHUNK):
                before = state[i] if relative_to == "state" or k == 0 else actions[i, k - 1]
                now, then = to_matrix(actions[i, k, 3:-1]), to_matrix(before[3:-1])
                moved = actions[i, k, :3] - before[:3]
                np.testing.assert_allclose(base[i, k, :3], moved, atol=1e-12)
                np.testing.assert_allclose(form("axis_angle")[0](base[i, k, 3:6]), now @ then.T, atol=1e-7)
                np.testing.assert_allclose(moving[i, k, :3], then.T @ moved, atol=1e-7)
                np.testing.assert_allclose(form("rotation_6d")[0](moving[i, k, 3:9]), then.T @ now, atol=1e-7)
                assert base[i, k, -1] == moving[i, k, -1] == actions[i, k, -1]


def test_a_robot_that_stays_where_it_is_has_deltas_of_zero():
    state = poses(np.random.default_rng(2), "euler_xyz_extrinsic", 3)
    deltas = DeltaActions(contract_of((*pose("euler_xyz_extrinsic"), GRIPPER)))
    given = deltas.to_delta(np.repeat(state[:, None], 2, axis=1), state)
    np.testing.assert_allclose(given[..., :6], 0, atol=1e-12)


def test_the_state_may_have_other_forms_units_names_and_fields():
    degrees = Field("rotation", 3, unit="deg", rotation="euler_xyz_extrinsic")
    action = (Field("position", 3, unit="m"), degrees, GRIPPER)
    turned = Field("wrist", 4, rotation="quaternion_xyzw")
    state = (GRIPPER, Field("torque", 2), turned, Field("position", 3, unit="mm"))
    deltas = DeltaActions(contract_of(action, state), fields={"rotation": "wrist"})
    start = Rotation.from_euler("xyz", [10, 20, 30], degrees=True)
    measured = np.concatenate([[0.3], [1, 2], start.as_quat(), [100, 200, 300]])
    chunk = np.array([[0.1, 0.25, 0.3, 10, 20, 75, 1.0]])
    given = deltas.to_delta(chunk, measured)
    np.testing.assert_allclose(given, [[0, 0.05, 0, 0, 0, 45, 1.0]], atol=1e-12)  # about z of the base, in degrees
    np.testing.assert_allclose(deltas.to_absolute(given, measured), chunk, atol=1e-12)
    rotation = deltas.fields[1]
    assert (rotation.mode, rotation.unit, rotation.size) == ("delta", "deg", 3)
    assert (
        DeltaActions(contract_of(action, state), fields={"rotation": "wrist"}, rotation="axis_angle").fields[1].unit
        == "rad"
    )


def test_joints_are_subtracted_and_what_is_relative_or_excluded_stays():
    action = (Field("joints", 6, unit="rad"), Field("base", 2, mode="delta"), Field("torso", 1), GRIPPER)
    deltas = DeltaActions(contract_of(action, (Field("joints", 6, unit="rad"),)), absolute=["torso"])
    start, chunk = np.arange(6.0), np.random.default_rng(0).normal(size=(4, 10))
    expected = chunk.copy()
    expected[:, :6] -= start
    np.testing.assert_array_equal(deltas.to_delta(chunk, start), expected)
    assert [f.mode for f in deltas.fields] == ["delta", "delta", None, None]
    assert deltas.fields[3] == GRIPPER


def test_actions_that_are_all_relative_already_are_deltas_as_they_are():
    action = (Field("position", 3, mode="delta", low=(-1,) * 3, high=(1,) * 3), GRIPPER)
    deltas = DeltaActions(contract_of(action, ()))
    chunk = np.random.default_rng(0).normal(size=(5, 4))
    assert deltas.fields == action
    np.testing.assert_array_equal(deltas.to_absolute(deltas.to_delta(chunk, np.empty(0)), np.empty(0)), chunk)


def test_deltas_have_no_range_and_none_of_a_robot_s_limits():
    fields = (*pose("axis_angle", max_velocity=(1.0,) * 3, workspace_low=(-1.0,) * 3), GRIPPER)
    position = DeltaActions(contract_of(fields)).fields[0]
    assert position == Field("position", 3, unit="m", frame="base", mode="delta")


def test_what_is_no_rotation_becomes_nan_and_nothing_else_does():
    deltas = DeltaActions(contract_of((*pose("quaternion_xyzw"), GRIPPER)))
    state = poses(np.random.default_rng(3), "quaternion_xyzw", 3)
    given = deltas.to_delta(poses(np.random.default_rng(4), "quaternion_xyzw", 3, 2), state)
    given[1, 0, 3:7] = 0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        back = deltas.to_absolute(given, state)
    assert np.isnan(back[1, 0, 3:7]).all()
    assert np.isfinite(back[[0, 2]]).all()
    assert np.isfinite(back[1, 1]).all()


@pytest.mark.parametrize("relative_to", REFERENCES)
def test_gimbal_lock_is_no_matter(relative_to):
    angles = [0.3, np.pi / 2, 0.2]
    deltas = DeltaActions(contract_of((*pose("euler_xyz_extrinsic"), GRIPPER)), relative_to=relative_to)
    state = np.array([0, 0, 0, *angles, 0.0])
    chunk = np.array([[0, 0, 0, 0.1, np.pi / 2, 0.4, 0], [0, 0, 0, 0.1, -np.pi / 2, 0.4, 1]])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        back = deltas.to_absolute(deltas.to_delta(chunk, state), state)
    assert error("euler_xyz_extrinsic", back, chunk) < 1e-6


# ---- configuration -----------------------------------------------------------------------------------------------------

ARM = contract_of((*pose("axis_angle"), GRIPPER))


def test_how_they_are_configured():
    assert read_actions(None, ARM) is None
    assert read_actions("absolute", ARM) is None
    assert read_actions({"name": "absolute"}, ARM) is None
    plain, other = read_actions("delta", ARM), read_actions({"name": "delta", "relative_to": "previous"}, ARM)
    assert plain
    assert other
    assert plain.name == "delta(state, base, position:3, rotation:axis_angle)"
    assert other.name == "delta(previous, base, position:3, rotation:axis_angle)"


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ("detla", "there are no 'detla' actions. Did you mean 'delta'"),
        ({"name": "absolute", "frame": "base"}, "absolute has no option 'frame'"),
        ({"name": "delta", "relative": "state"}, "delta has no option 'relative'. Did you mean 'relative_to'"),
        ({"name": "delta", "relative_to": "now"}, "relative_to is not 'now'"),
        ({"name": "delta", "frame": "end-effector"}, "frame is not 'end-effector'. Did you mean 'end_effector'"),
        ({"name": "delta", "rotation": "rotvec"}, "rotation of 'rotation' has the rotation 'rotvec'"),
        ({"name": "delta", "fields": {"grip": "x"}}, "fields names no action field. Did you mean 'gripper'"),
        ({"name": "delta", "absolute": ["positoin"]}, "absolute names no action field. Did you mean 'position'"),
        ({"name": "delta", "fields": {"position": "place"}}, r"no field 'place' .*'position' could be relative to"),
        ({"name": "delta", "absolute": ["position", "rotation"]}, "no action field is left to be a delta"),
    ],
)
def test_what_is_wrong_is_named(config, message):
    with pytest.raises(ConfigurationError, match=message):
        read_actions(config, ARM)


@pytest.mark.parametrize(
    ("action", "state", "options", "message"),
    [
        (Field("a", 3), Field("a", 2), {}, "'a' has 3 numbers, and 'a' of the state 2.*policy.actions.fields={a: …}"),
        (Field("a", 1, unit="m"), Field("a", 1, unit="rad"), {}, "'a' is in m, and 'a' of the state in rad"),
        (
            Field("a", 3, frame="base"),
            Field("a", 3, frame="camera"),
            {},
            "in the frame base, and 'a' of the state in camera",
        ),
        (Field("a", 3, rotation="axis_angle"), Field("a", 3), {}, "'a' of the state has the rotation None"),
        (
            Field("a", 3, rotation="quaternion_xyzw"),
            Field("a", 3, rotation="axis_angle"),
            {},
            "'a' has 3 numbers, and quat",
        ),
        (Field("a", 3), Field("a", 3), {"frame": "end_effector"}, "'a' is the last field. Use frame=base"),
    ],
)
def test_fields_that_do_not_fit_each_other_are_named(action, state, options, message):
    with pytest.raises(ConfigurationError, match=message):
        DeltaActions(contract_of((action,), (state,)), **options)


def test_a_position_without_its_rotation_has_no_frame_of_its_own():
    fields = (Field("position", 3, unit="m"), Field("joints", 3, unit="rad"))
    with pytest.raises(ConfigurationError, match=r"'joints' is none\. Use frame=base"):
        DeltaActions(contract_of(fields), frame="end_effector")
    joints = DeltaActions(contract_of((replace(fields[1], size=3),)), frame="end_effector")
    np.testing.assert_array_equal(joints.to_delta(np.ones((2, 3)), np.zeros(3)), np.ones((2, 3)))
