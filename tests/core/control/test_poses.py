"""Relative actions as target poses: T ← T · Δ, from the last target."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from forehand.control.poses import Pose, TargetPose
from forehand.errors import ConfigurationError, ContractMismatch, UnsafeMotion

angles = st.tuples(*[st.floats(-3, 3)] * 3)
actions = st.lists(st.tuples(*[st.floats(-1, 1)] * 6), min_size=1, max_size=20)
HOME = Pose.of([0.4, 0.1, 0.2], [3.0, 0.1, -0.4])


@given(actions)
def test_targets_chain_from_the_last_target_as_the_paper_s_do(chunk):
    target = TargetPose()
    target.reset(HOME)
    expected = np.eye(4)
    expected[:3, :3], expected[:3, 3] = HOME.rotation, HOME.position
    for action in chunk:
        step = np.eye(4)
        step[:3, :3] = Rotation.from_euler("xyz", np.array(action[3:]) * 0.05).as_matrix()
        step[:3, 3] = np.array(action[:3]) * 0.02
        expected = expected @ step
        pose = target.move(np.array(action))
        np.testing.assert_allclose(pose.position, expected[:3, 3], atol=1e-9)
        np.testing.assert_allclose(pose.rotation, expected[:3, :3], atol=1e-9)


@given(actions)
def test_the_actions_between_targets_are_those_that_made_them(chunk):
    target = TargetPose()
    target.reset(HOME)
    for action in chunk:
        before = target.target
        np.testing.assert_allclose(target.action(before, target.move(np.array(action))), action, atol=1e-5)


def test_an_arm_that_lags_does_not_bend_the_path():
    free, lagging = TargetPose(), TargetPose(leash=0.5)
    for target in (free, lagging):
        target.reset(HOME)
    for _ in range(5):
        there = free.move(np.array([1.0, 0, 0, 0, 0, 1.0]))
        here = lagging.move(np.array([1.0, 0, 0, 0, 0, 1.0]), measured=HOME)
    np.testing.assert_allclose(here.position, there.position)
    np.testing.assert_allclose(here.rotation, there.rotation)


def test_a_blocked_arm_s_target_stays_on_its_leash():
    target = TargetPose(metres=1.0, radians=1.0, leash=0.05, turn_leash=0.2)
    target.reset(HOME)
    for _ in range(50):
        pose = target.move(np.array([0.03, 0, 0, 0, 0.1, 0]), measured=HOME)
    assert np.linalg.norm(pose.position - HOME.position) == pytest.approx(0.05)
    turned = Rotation.from_matrix(HOME.rotation.T @ pose.rotation).magnitude()
    assert turned == pytest.approx(0.2)


@given(actions)
def test_the_target_never_leaves_its_workspace(chunk):
    low, high = np.array([0.35, 0.0, 0.15]), np.array([0.45, 0.2, 0.25])
    target = TargetPose(metres=0.5, workspace=(low, high))
    target.reset(HOME)
    for action in chunk:
        pose = target.move(np.array(action))
        assert (low <= pose.position).all()
        assert (pose.position <= high).all()


def test_what_was_cut_is_told_as_the_action_that_was_left():
    target = TargetPose(metres=1.0, radians=1.0, workspace=([0, 0, 0], [0.41, 1, 1]))
    level = Pose.of([0.4, 0.1, 0.2], [0, 0, 0])
    target.reset(level)
    done = target.action(level, target.move(np.array([0.03, 0.03, 0, 0, 0, 0])))
    np.testing.assert_allclose(done, [0.01, 0.03, 0, 0, 0, 0], atol=1e-6)


def test_a_reset_forgets_the_old_target():
    target = TargetPose()
    target.reset(HOME)
    target.move(np.ones(6))
    target.reset(HOME)
    np.testing.assert_array_equal(target.move(np.zeros(6)).position, HOME.position)
    np.testing.assert_allclose(HOME.numbers()[:3], HOME.position, rtol=1e-6)


@pytest.mark.parametrize("wrong", [np.zeros(7), np.full(6, np.nan), np.zeros((1, 6))])
def test_what_is_no_motion_is_refused(wrong):
    target = TargetPose()
    target.reset(HOME)
    with pytest.raises(ContractMismatch, match="six finite numbers"):
        target.move(wrong)
    assert target.target is HOME


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("part", ["position", "rotation"])
def test_no_target_follows_a_measured_pose_that_is_none(part, bad):
    wrong = Pose(HOME.position.copy(), HOME.rotation.copy())
    getattr(wrong, part).flat[1] = bad
    target = TargetPose(workspace=([0, 0, 0], [1, 1, 1]), leash=0.1, turn_leash=0.2)
    target.reset(HOME)
    with pytest.raises(UnsafeMotion, match=f"measured {part} is .*Nothing was moved"):
        target.move(np.ones(6), wrong)
    assert target.target is HOME
    with pytest.raises(UnsafeMotion, match=f"measured {part} is"):
        target.reset(wrong)
    with pytest.raises(ConfigurationError, match="reset to the measured pose"):  # not from the pose before, either
        target.move(np.ones(6))


def test_a_measured_rotation_that_is_none_is_refused():
    with pytest.raises(UnsafeMotion, match="which is no rotation"):
        TargetPose().reset(Pose(np.zeros(3), np.zeros((3, 3))))


def test_a_target_does_not_jump_into_a_workspace_farther_away_than_its_leash():
    target = TargetPose(workspace=([0, 0, 0], [0.5, 1, 1]), leash=0.1)
    for x, fits in ((0.55, True), (0.7, False), (1e30, False)):
        measured = Pose.of([x, 0.1, 0.2], [0, 0, 0])
        target.reset(measured)
        if fits:
            assert target.move(np.zeros(6), measured).position[0] == 0.5
        else:
            with pytest.raises(UnsafeMotion, match=r"outside of its workspace .* than its leash of 0\.1 m"):
                target.move(np.zeros(6), measured)
            assert target.target is measured


@pytest.mark.filterwarnings("ignore:overflow", "ignore:invalid")
def test_a_motion_that_overflows_moves_nothing():
    target = TargetPose(metres=10.0)
    target.reset(HOME)
    with pytest.raises(UnsafeMotion, match=r"target position is .*not three finite numbers"):
        target.move(np.full(6, 1e308))
    assert target.target is HOME


@pytest.mark.parametrize(
    "workspace", [([0, 0], [1, 1]), ([0, 0, np.nan], [1, 1, 1]), ([0, 0, 2], [1, 1, 1]), ([0, 0, 0], [1, 1, np.nan])]
)
def test_a_workspace_that_is_none_is_refused(workspace):
    with pytest.raises(ConfigurationError, match="workspace is its lowest and highest position"):
        TargetPose(workspace=workspace)


def test_it_has_to_know_where_the_arm_is():
    with pytest.raises(ConfigurationError, match="reset to the measured pose"):
        TargetPose().move(np.zeros(6))
    with pytest.raises(ConfigurationError, match="positive"):
        TargetPose(leash=0)
    for what in ("metres", "radians", "leash", "turn_leash"):
        with pytest.raises(ConfigurationError, match="positive"):
            TargetPose(**{what: np.nan})
    with pytest.raises(ConfigurationError, match="three numbers"):
        TargetPose(rotation="quaternion_xyzw")
