"""Points that fill the collision shapes of a model, and poses about the vertical. Metres, radians; no simulator."""

from __future__ import annotations

import itertools
import math

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

SPACING = 0.006
"""Between points that fill a shape, m."""

UP = np.array([0.0, 0.0, 1.0])
DOWN = np.diag([1.0, -1.0, -1.0])
"""Orientation of a hand that points down, its closing axis along x of the world."""


def filled(kind: str, size: Array, spacing: float = SPACING) -> Array:
    """Points (n, 3) that fill a shape about its centre: ``box``, ``sphere``, ``ellipsoid``, ``cylinder`` or ``capsule``.

    size: as MuJoCo has it: half lengths of a box, radii of an ellipsoid, else radius and half length along z.
    """
    x, y, z = (float(number) for number in size)
    half = {
        "box": (x, y, z),
        "ellipsoid": (x, y, z),
        "sphere": (x, x, x),
        "cylinder": (x, x, y),
        "capsule": (x, x, x + y),
    }[kind]
    axes = [np.linspace(-h, h, 2 * math.ceil(h / spacing) + 1) for h in half]
    points = np.array(list(itertools.product(*axes)))
    if kind == "box":
        return points
    if kind in ("sphere", "ellipsoid"):
        return points[np.sum((points / half) ** 2, axis=1) <= 1.0 + 1e-9]
    over = np.maximum(np.abs(points[:, 2]) - y, 0.0) if kind == "capsule" else 0.0
    return points[points[:, 0] ** 2 + points[:, 1] ** 2 + over**2 <= x * x + 1e-9]


def on_triangles(vertices: Array, faces: NDArray[np.integer], spacing: float = SPACING) -> Array:
    """Points (n, 3) on a mesh of ``vertices`` (v, 3) and ``faces`` (f, 3), about ``spacing`` apart."""
    corners = vertices[faces]  # (f, 3, 3)
    longest = np.linalg.norm(corners - np.roll(corners, 1, axis=1), axis=2).max(axis=1)
    parts = [vertices]
    for steps in range(2, 2 + math.ceil(float(longest.max(initial=0.0)) / spacing)):
        chosen = corners[np.ceil(longest / spacing) == steps]
        if len(chosen):
            weights = np.array([(i, j, steps - i - j) for i in range(steps + 1) for j in range(steps + 1 - i)]) / steps
            parts.append(np.einsum("wc,fcd->fwd", weights, chosen).reshape(-1, 3))
    cells = np.round(np.concatenate(parts) / (spacing / 2))
    return np.unique(cells, axis=0) * (spacing / 2)


def turned_by(yaw: float) -> Array:
    """The rotation (3, 3) about the vertical."""
    c, s = math.cos(yaw), math.sin(yaw)
    return np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])


def pointing_down(yaw: float) -> Array:
    """The orientation (3, 3) of a hand that points down and closes along the direction ``yaw``."""
    return turned_by(yaw) @ DOWN


def nearest_turn(yaw: float, present: float) -> float:
    """``yaw`` modulo a half turn, at most a quarter turn from ``present``: turned by a half, a gripper is the same."""
    return present + (yaw - present + math.pi / 2) % math.pi - math.pi / 2
