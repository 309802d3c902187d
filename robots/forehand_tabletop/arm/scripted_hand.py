"""Scripted motion of a hand: steps towards a pose, and the way to a place from above."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from forehand_tabletop.arm.arm_robot import ACTION_HIGH, ACTION_LOW
from forehand_tabletop.arm.kinematics import Vector

Action = NDArray[np.float32]

GAIN = 0.5  # share of the remaining way taken in one control step
OPEN, CLOSED = 1.0, -1.0
TOO_LOW = 0.01, 0.03  # m below the funnel: sideways motion begins to give way to rising, and has given way


def step_towards(way: Vector, turn: Vector, gripper: float, speed: float) -> Action:
    """The action (7,) for a remaining ``way`` (3,) m, of which at most ``speed`` is made, and ``turn`` (3,) rad."""
    step = GAIN * way
    step *= speed / max(float(np.linalg.norm(step)), speed)
    action = np.concatenate([step, GAIN * turn, [gripper]])
    return np.clip(action, ACTION_LOW, ACTION_HIGH).astype(np.float32)


def way_from_above(point: Vector, goal: Vector, hover: float) -> tuple[Vector, float]:
    """The way (3,) m of ``point`` (3,) to a place ``hover`` m above ``goal`` (3,).

    A point that is too low rises before it goes sideways. Also returns the share of the way sideways, 0 to 1.
    """
    height = goal[2] + hover
    begins, ends = TOO_LOW
    sideways = 1 - smooth_step((height - point[2] - begins) / ends)
    return np.array([*(sideways * (goal - point)[:2]), height - point[2]]), sideways


def smooth_step(x: float) -> float:
    """0 below 0, 1 above 1, and smooth between."""
    x = float(np.clip(x, 0, 1))
    return x * x * (3 - 2 * x)
