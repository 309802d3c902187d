"""Grasps from above by two parallel fingers, planned on points: across an object, or over its rim. No simulator.

The frame of a hand: x is the axis along which it closes, z points out of it, towards what it grasps; its origin lies
between the tips of the fingers.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from forehand_libero.experts.geometry import Array, nearest_turn

YAWS = 18
"""Directions that are tried, over a half turn."""

OFFSET = 0.008
"""Between strips of one direction, m."""


@dataclass(frozen=True)
class Hand:
    """The gripper's measures, m, as those of the Panda in robosuite.

    open: between the open fingers; thickness: of a finger along the closing axis, and its half ``width`` across; below:
    how far finger tips reach below the origin, and pads ``above`` it; the palm lies ``palm`` above, ``palm_long`` to
    both sides along the closing axis and ``palm_wide`` across; margin: that is kept free around it.
    """

    open: float = 0.0764
    thickness: float = 0.022
    width: float = 0.011
    below: float = 0.0045
    above: float = 0.0115
    palm: float = 0.028
    palm_long: float = 0.105
    palm_wide: float = 0.034
    margin: float = 0.003


@dataclass(frozen=True)
class Grasp:
    """Where the hand's origin is to be when it closes (3,), m; along which direction, rad; and how good that is.

    span: what is between the fingers, m; cost: smaller is better.
    """

    position: Array
    yaw: float
    span: float
    cost: float


def runs(numbers: Array, gap: float) -> list[tuple[float, float]]:
    """Intervals that ``numbers`` cover, where neighbours more than ``gap`` apart end one."""
    if not len(numbers):
        return []
    ordered = np.sort(numbers)
    cuts = np.flatnonzero(np.diff(ordered) > gap)
    starts, ends = ordered[np.r_[0, cuts + 1]], ordered[np.r_[cuts, len(ordered) - 1]]
    return list(zip(starts.tolist(), ends.tolist(), strict=True))


def grasps(
    points: Array, others: Array, present_yaw: float, hand: Hand | None = None, depths: Sequence[float] = (0.022, 0.014)
) -> list[Grasp]:
    """Grasps of the object that ``points`` (n, 3) fill, among the points of ``others`` (m, 3), best first.

    depths: how far below the object's top the hand may reach, m, as far as the object is that high. The hand turns at
    most a quarter from ``present_yaw``.
    """
    hand = hand or Hand()
    bottom, top = float(points[:, 2].min()), float(points[:, 2].max())
    centre = (points[:, :2].min(axis=0) + points[:, :2].max(axis=0)) / 2
    near = others[np.linalg.norm(others[:, :2] - centre, axis=1) < 0.25] if len(others) else others
    found: list[Grasp] = []
    lowest = bottom + hand.below + hand.margin
    for height in sorted({max(lowest, top - depth) for depth in depths}):
        for yaw in np.arange(YAWS) * math.pi / YAWS:
            turned = nearest_turn(float(yaw), present_yaw)
            found += _across(points, near, centre, height, turned, present_yaw, hand)
    return sorted(found, key=lambda grasp: grasp.cost)


def fits(position: Array, yaw: float, obstacles: Array, hand: Hand | None = None) -> bool:
    """Whether the open hand can be at ``position`` (3,) without touching ``obstacles`` (m, 3), and come down there."""
    hand = hand or Hand()
    near = _in_frame(obstacles, np.asarray(position[:2]), yaw)
    near = near[near[:, 2] > position[2] - hand.below]
    return _free(near, near[:0], 0.0, 0.0, float(position[2]), hand)


def _across(
    points: Array, others: Array, centre: Array, height: float, yaw: float, present_yaw: float, hand: Hand
) -> Iterator[Grasp]:
    """Grasps at one height and in one direction."""
    own, foreign = (_in_frame(cloud, centre, yaw) for cloud in (points, others))
    band = own[(own[:, 2] > height - hand.below) & (own[:, 2] < height + hand.above)]
    blocking = np.concatenate([own, foreign])
    blocking = blocking[blocking[:, 2] > height - hand.below - hand.margin]
    foreign = foreign[foreign[:, 2] > height - hand.below - hand.margin]
    if not len(band):
        return
    first, last = float(band[:, 1].min()), float(band[:, 1].max())
    steps = max(1, math.floor((last - first) / OFFSET / 2))
    middle = (first + last) / 2
    for across in middle + OFFSET * np.arange(-steps, steps + 1):
        strip = band[np.abs(band[:, 1] - across) < hand.width]
        walls = runs(strip[:, 0], 2 * hand.margin + 0.004)
        for (low, _), (_, high) in itertools.combinations_with_replacement(walls, 2):
            span, along = high - low, (low + high) / 2
            if span > hand.open - 2 * hand.margin or not _free(blocking, foreign, along, float(across), height, hand):
                continue
            c, s = math.cos(yaw), math.sin(yaw)
            place = centre + np.array([c * along - s * across, s * along + c * across])
            off = math.hypot(along, float(across))
            cost = 3 * span + 6 * off + 0.08 * abs(yaw - present_yaw) + 2 * (points[:, 2].max() - height < 0.018)
            yield Grasp(np.array([*place, height]), yaw, span, cost)


def _free(blocking: Array, foreign: Array, along: float, across: float, height: float, hand: Hand) -> bool:
    """Whether the open hand fits there, and comes down there."""
    x, y = np.abs(blocking[:, 0] - along), np.abs(blocking[:, 1] - across)
    inner, outer = hand.open / 2 - hand.margin / 2, hand.open / 2 + hand.thickness + hand.margin
    fingers = (x > inner) & (x < outer) & (y < hand.width + hand.margin)
    palm = (blocking[:, 2] > height + hand.palm - hand.margin) & (x < hand.palm_long) & (y < hand.palm_wide)
    if bool(np.any(fingers | palm)):
        return False
    between = (np.abs(foreign[:, 0] - along) < inner) & (np.abs(foreign[:, 1] - across) < hand.width)
    return not bool(np.any(between))


def _in_frame(points: Array, centre: Array, yaw: float) -> NDArray[np.float64]:
    """Points relative to ``centre``, turned so that x is the closing axis; heights stay."""
    if not len(points):
        return np.zeros((0, 3))
    c, s = math.cos(yaw), math.sin(yaw)
    x, y = points[:, 0] - centre[0], points[:, 1] - centre[1]
    return np.stack([c * x + s * y, c * y - s * x, points[:, 2]], axis=1)
