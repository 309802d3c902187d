"""Rotations are scipy's, also where a form is singular."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from forehand.contracts.rotations import FORMS, form, from_6d, from_quaternion, to_euler
from forehand.errors import ConfigurationError

SCIPY = {
    "euler_xyz_extrinsic": lambda r: r.as_euler("xyz"),
    "axis_angle": lambda r: r.as_rotvec(),
    "quaternion_xyzw": lambda r: r.as_quat(canonical=True),
    "quaternion_wxyz": lambda r: r.as_quat(canonical=True, scalar_first=True),
    "rotation_6d": lambda r: r.as_matrix()[:, :2].T.ravel(),
}
CORNERS = [
    *([0, 0, 0], [1e-9, -2e-9, 1e-9], [0, np.pi / 2, 0], [0, np.pi - 1e-7, 0]),
    *([np.pi, 0, 0], [0, np.pi, 0], [0, 0, np.pi], [np.pi / math.sqrt(3)] * 3),
]


@given(st.tuples(*[st.floats(-3, 3)] * 3), st.sampled_from(list(FORMS)))
def test_every_form_of_a_rotation_is_scipy_s(vector, name):
    rotation = Rotation.from_rotvec(vector)
    to_matrix, from_matrix = form(name)
    np.testing.assert_allclose(to_matrix(SCIPY[name](rotation)), rotation.as_matrix(), atol=1e-12)
    np.testing.assert_allclose(to_matrix(from_matrix(rotation.as_matrix())), rotation.as_matrix(), atol=1e-7)


@pytest.mark.parametrize("vector", CORNERS)
@pytest.mark.parametrize("name", FORMS)
def test_the_corners_of_every_form(vector, name):
    matrix = Rotation.from_rotvec(vector).as_matrix()
    to_matrix, from_matrix = form(name)
    np.testing.assert_allclose(to_matrix(from_matrix(matrix)), matrix, atol=1e-7)


@pytest.mark.parametrize("sign", [-1, 1])
def test_in_gimbal_lock_all_of_the_turn_is_about_x(sign):
    matrix = Rotation.from_euler("xyz", [0.3, sign * np.pi / 2, 0.2]).as_matrix()
    x, y, z = to_euler(matrix)
    assert (y, z) == (pytest.approx(sign * np.pi / 2, abs=1e-6), 0)
    np.testing.assert_allclose(Rotation.from_euler("xyz", [x, y, z]).as_matrix(), matrix, atol=1e-6)


def test_quaternions_of_any_length_are_the_same_rotation():
    quaternion = np.array([0.1, -0.4, 0.2, 0.6])
    np.testing.assert_allclose(from_quaternion(-7 * quaternion), Rotation.from_quat(quaternion).as_matrix(), atol=1e-12)


def test_six_numbers_are_made_orthonormal():
    np.testing.assert_allclose(from_6d([2, 0, 0, 5, 0, 3]), [[1, 0, 0], [0, 0, -1], [0, 1, 0]], atol=1e-12)


def test_an_unknown_form_is_answered_with_the_nearest():
    with pytest.raises(ConfigurationError, match="axis_angle"):
        form("axis_angel")
