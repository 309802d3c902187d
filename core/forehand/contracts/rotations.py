"""Conversions between rotation representations and rotation matrices. Angles in rad, all in float64."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from forehand.errors import ConfigurationError, nearest

Vector = NDArray[np.float64]
Matrix = NDArray[np.float64]
Numbers = Sequence[float] | NDArray[np.floating]


def from_euler(angles: Numbers) -> Matrix:
    """(3, 3) from extrinsic x, y, z angles: about x first, then y, then z, all of them fixed axes."""
    (cx, cy, cz), (sx, sy, sz) = np.cos(angles), np.sin(angles)
    return np.array(
        [
            [cz * cy, cz * sy * sx - sz * cx, cz * sy * cx + sz * sx],
            [sz * cy, sz * sy * sx + cz * cx, sz * sy * cx - cz * sx],
            [-sy, cy * sx, cy * cx],
        ]
    )


def to_euler(matrix: Matrix) -> Vector:
    """The inverse of :func:`from_euler` with y within ±π/2; at its ends, where x and z turn alike, z is 0."""
    sine = min(1.0, max(-1.0, -float(matrix[2, 0])))
    y = math.asin(sine)
    if abs(sine) > 1 - 1e-12:
        return np.array([math.atan2(-matrix[1, 2], matrix[1, 1]), y, 0.0])
    return np.array([math.atan2(matrix[2, 1], matrix[2, 2]), y, math.atan2(matrix[1, 0], matrix[0, 0])])


def from_axis_angle(vector: Numbers) -> Matrix:
    """(3, 3) from an axis times its angle (3,); Rodrigues' formula."""
    v = np.asarray(vector, np.float64)
    angle = float(np.linalg.norm(v))
    cross = np.array([[0, -v[2], v[1]], [v[2], 0, -v[0]], [-v[1], v[0], 0]])
    # sin(a)/a and (1 - cos(a))/a², exact near 0 as well
    return np.eye(3) + np.sinc(angle / np.pi) * cross + np.sinc(angle / 2 / np.pi) ** 2 / 2 * cross @ cross


def to_axis_angle(matrix: Matrix) -> Vector:
    """The inverse of :func:`from_axis_angle`, with an angle from 0 to π."""
    x, y, z, w = to_quaternion(matrix)
    half = math.atan2(math.sqrt(x * x + y * y + z * z), w)
    scale = 2 / np.sinc(half / np.pi)  # angle / sin(angle / 2)
    return np.array([x, y, z]) * scale


def from_quaternion(quaternion: Numbers) -> Matrix:
    """(3, 3) from x, y, z, w, of any length but 0."""
    q = np.asarray(quaternion, np.float64)
    x, y, z, w = q / np.linalg.norm(q)
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    )


def to_quaternion(matrix: Matrix) -> Vector:
    """Unit x, y, z, w with w ≥ 0. Source: Shepperd, *Quaternion from Rotation Matrix*, 1978."""
    m = np.asarray(matrix, np.float64)
    squares = np.array([m[0, 0], m[1, 1], m[2, 2], m.trace()])
    i = int(squares.argmax())
    q = np.empty(4)
    if i == 3:
        q[:3] = m[2, 1] - m[1, 2], m[0, 2] - m[2, 0], m[1, 0] - m[0, 1]
        q[3] = 1 + m.trace()
    else:
        j, k = (i + 1) % 3, (i + 2) % 3
        q[i] = 1 + m[i, i] - m[j, j] - m[k, k]
        q[j], q[k], q[3] = m[j, i] + m[i, j], m[k, i] + m[i, k], m[k, j] - m[j, k]
    q /= np.linalg.norm(q)
    return q if q[3] >= 0 else -q


def from_6d(numbers: Numbers) -> Matrix:
    """(3, 3) from its first two columns, one after the other (6,), made orthonormal by Gram and Schmidt.

    Source: Zhou et al., *On the Continuity of Rotation Representations in Neural Networks*, CVPR 2019, section 4.
    """
    a, b = np.asarray(numbers, np.float64).reshape(2, 3)
    first = a / np.linalg.norm(a)
    second = b - (first @ b) * first
    second /= np.linalg.norm(second)
    return np.stack([first, second, np.cross(first, second)], axis=1)


def to_6d(matrix: Matrix) -> Vector:
    """The first two columns (6,): the inverse of :func:`from_6d`."""
    return np.asarray(matrix, np.float64)[:, :2].T.reshape(6)


FORMS: Mapping[str, tuple[Callable[[Numbers], Matrix], Callable[[Matrix], Vector]]] = {
    "euler_xyz_extrinsic": (from_euler, to_euler),
    "axis_angle": (from_axis_angle, to_axis_angle),
    "quaternion_xyzw": (from_quaternion, to_quaternion),
    "quaternion_wxyz": (lambda q: from_quaternion(np.roll(q, -1)), lambda m: np.roll(to_quaternion(m), 1)),
    "rotation_6d": (from_6d, to_6d),
}
"""A contract's name of a form → to a matrix, and back."""


def form(name: str) -> tuple[Callable[[Numbers], Matrix], Callable[[Matrix], Vector]]:
    """The form of that name; an unknown one is answered with the nearest."""
    if name not in FORMS:
        raise ConfigurationError(f"There is no form of rotations called {name!r}. {nearest(name, FORMS)}")
    return FORMS[name]
