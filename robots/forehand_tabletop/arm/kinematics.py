"""Rotation vectors, and inverse kinematics by damped least squares."""

from __future__ import annotations

from collections.abc import Sequence

import mujoco
import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]


def rotation_vector(matrix: Vector) -> Vector:
    """(3,) axis times angle (rad) of a rotation matrix."""
    quaternion, vector = np.empty(4), np.empty(3)
    mujoco.mju_mat2Quat(quaternion, matrix.ravel())
    mujoco.mju_quat2Vel(vector, quaternion, 1.0)
    return vector


def matrix_from_rotation_vector(vector: Vector) -> Vector:
    """(3, 3) rotation matrix; the inverse of :func:`rotation_vector`."""
    quaternion, matrix = np.array([1.0, 0, 0, 0]), np.empty(9)
    mujoco.mju_quatIntegrate(quaternion, vector, 1.0)
    mujoco.mju_quat2Mat(matrix, quaternion)
    return matrix.reshape(3, 3)


class InverseKinematics:
    """Finds joint angles that bring a site to a pose, near given ones (damped least squares).

    In its null space the arm drifts towards ``posture`` (J,) rad, so that the arm's pose follows from the hand's,
    whatever the path.
    """

    iterations = 6
    damping = 0.05
    posture_gain = 0.2

    def __init__(self, model: mujoco.MjModel, site: int, joints: Sequence[int], posture: Vector) -> None:
        self._model = model
        self._data = mujoco.MjData(model)
        self._qpos = model.jnt_qposadr[list(joints)]
        self._dof = model.jnt_dofadr[list(joints)]
        self._low, self._high = model.jnt_range[list(joints)].T
        self._posture = posture
        self._site, self._at, self._turned = site, self._data.site_xpos[site], self._data.site_xmat[site].reshape(3, 3)
        self._jacobian = np.zeros((6, model.nv))
        # The second is small: a posture motion that leaks into the hand's pose would stay there as an error.
        self._damping = np.square([self.damping, 1e-3])[:, None, None] * np.eye(6)

    def solve(self, start: Vector, position: Vector, rotation: Vector) -> Vector:
        """Joint angles (J,) rad within limits, near ``start``, for a position (3,) m and rotation (3, 3) of the site."""
        joints = start.copy()
        for _ in range(self.iterations):
            error, jacobian = self._linearize(joints, position, rotation)
            # One call for both inverses (2, J, 6): for matrices of this size, the time goes into calls.
            for_pose, for_posture = jacobian.T @ np.linalg.inv(jacobian @ jacobian.T + self._damping)
            towards_posture = self.posture_gain * (self._posture - joints)
            joints += for_pose @ error
            joints += towards_posture - for_posture @ (jacobian @ towards_posture)
            joints = np.minimum(np.maximum(joints, self._low), self._high)
        return joints

    def pose(self, joints: Vector) -> tuple[Vector, Vector]:
        """Position (3,) m and rotation (3, 3) of the site at these joint angles (J,) rad."""
        self._data.qpos[self._qpos] = joints
        mujoco.mj_kinematics(self._model, self._data)
        return self._at.copy(), self._turned.copy()

    def _linearize(self, joints: Vector, position: Vector, rotation: Vector) -> tuple[Vector, Vector]:
        at, turned = self.pose(joints)
        mujoco.mj_comPos(self._model, self._data)
        mujoco.mj_jacSite(self._model, self._data, self._jacobian[:3], self._jacobian[3:], self._site)
        error = np.concatenate([position - at, rotation_vector(rotation @ turned.T)])
        return error, self._jacobian[:, self._dof]
