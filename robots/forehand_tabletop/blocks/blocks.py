"""Block definitions: colours, names in sentences, and initial poses."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

BLOCKS = ("red", "green", "blue")
BLOCK_SIZE = 0.04  # m, edge

REGION_LOW = (0.39, -0.16)  # m, x and y, where centres start
REGION_HIGH = (0.63, 0.16)
YAW = 0.3  # rad, at most, either way
APART = 0.09  # m, between centres, at least
LANE_LENGTH, LANE_WIDTH = 0.15, 0.06  # m, along x and y: kept free around each block, so that each can be pushed


@dataclass(frozen=True)
class BlockState:
    """One block at one moment: centre (3,) m in the base frame, speed (m/s), and the blocks and fingers in contact."""

    position: NDArray[np.float64]
    speed: float
    touching: frozenset[str]


def sample_blocks(rng: np.random.Generator) -> dict[str, NDArray[np.float64]]:
    """Start poses by name, (3,) each: x and y (m) and yaw (rad), such that every task is possible with every block."""
    while True:
        centres = rng.uniform(REGION_LOW, REGION_HIGH, size=(len(BLOCKS), 2))
        gaps = np.abs(centres[:, None] - centres[None, :])[np.triu_indices(len(BLOCKS), 1)]
        in_lane = (gaps[:, 0] < LANE_LENGTH) & (gaps[:, 1] < LANE_WIDTH)
        if not in_lane.any() and (np.linalg.norm(gaps, axis=-1) >= APART).all():
            yaws = rng.uniform(-YAW, YAW, size=len(BLOCKS))
            return {name: np.array([*centre, yaw]) for name, centre, yaw in zip(BLOCKS, centres, yaws, strict=True)}
