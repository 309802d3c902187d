"""Spots where an object can stand: free of what is there already, and with room for the hand. No simulator."""

from __future__ import annotations

import itertools

import numpy as np

from forehand_libero.experts.geometry import Array

CELL = 0.004
"""Of the grid on which what is in the way is found, m."""

STEP = 0.005
"""Between spots that are tried, m."""


def support(points: Array, at: Array, below: float = np.inf, around: float = 0.03) -> float:
    """Height of what would carry an object ``at`` (2,): the highest of ``points`` (n, 3) near, and ``below`` a height.

    Minus infinity where there is none.
    """
    near = np.linalg.norm(points[:, :2] - np.asarray(at)[:2], axis=1) < around
    heights = points[near & (points[:, 2] < below), 2]
    return float(heights.max(initial=-np.inf))


def free_spots(shape: Array, obstacles: Array, low: Array, high: Array, preferred: Array, height: float) -> list[Array]:
    """Positions (2,) from ``low`` to ``high`` (2,) that an object comes down to without touching, nearest first.

    shape (n, 3): points that fill it, from its position; obstacles (m, 3): what is in the way above ``height``; preferred
    (2,): where it would best be. Where no spot is free, those come first that touch least.
    """
    blocked = {(int(i), int(j)) for i, j in _cells(obstacles[obstacles[:, 2] > height])}
    outline = _cells(shape)
    ranges = [np.arange(0.0, max(float(b - a), 0.0) + 1e-9, STEP) + a for a, b in zip(low, high, strict=True)]
    rated = []
    for spot in itertools.product(*ranges):
        shift = np.round(np.array(spot) / CELL).astype(int)
        touched = sum((int(i), int(j)) in blocked for i, j in outline + shift)
        rated.append((touched, float(np.linalg.norm(np.array(spot) - preferred)), spot))
    return [np.array(spot) for _, _, spot in sorted(rated)]


def _cells(points: Array) -> np.ndarray:
    return np.unique(np.round(points[:, :2] / CELL).astype(int), axis=0) if len(points) else np.zeros((0, 2), int)
