"""Initial layouts: seeded poses for a symbolic world state."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from forehand_tabletop.chains.dimensions import (
    BLOCK_HEIGHT,
    BLOCKS,
    DOOR_TRAVEL,
    DRAWER_FLOOR,
    DRAWER_TRAVEL,
    FRONT,
    HALF,
    SLIDER_TRAVEL,
    SWITCH_ANGLE,
    Vector,
)
from forehand_tabletop.chains.variants import Variant
from forehand_tabletop.chains.world import SymbolicState

HOME = (0.46, -0.06, 0.24)  # m, of the point between the fingertips
HOME_SPREAD = (0.04, 0.04, 0.03)  # m, around it, where episodes start

REGION_LOW, REGION_HIGH = (0.40, -0.27), (0.64, -0.09)  # m, x and y, where blocks on the table start
YAW = 0.5  # rad, at most, either way
APART = 0.095  # m, between centres, at least
LANE_LENGTH, LANE_WIDTH = 0.17, 0.055  # m, along x and y: kept free around each block, so that each can be pushed
FIXTURE_APART = 0.125  # m, between a block and button or switch
SPOTS = (-0.056, 0.0, 0.056)  # m, along x from the drawer's middle, for one block each
INSIDE_DEPTH = 0.0645  # m, from the drawer's face to the middle of its floor


@dataclass(frozen=True)
class Layout:
    """Initial layout of the environment.

    joints: each fixture's joint (m or rad); blocks: position (3,) m and yaw (rad); held: the block in the hand;
    hand: where the point between the fingertips is, (3,) m.
    """

    joints: Mapping[str, float]
    light: bool
    blocks: Mapping[str, tuple[Vector, float]]
    held: str | None
    hand: Vector


def lay_out(symbols: SymbolicState, variant: Variant, rng: np.random.Generator) -> Layout:
    """Poses of everything, such that every task that is possible in the symbolic state is possible in the scene."""
    joints = {
        "drawer": DRAWER_TRAVEL * (symbols.drawer == "open"),
        "door": DOOR_TRAVEL * (symbols.door == "right"),
        "slider": SLIDER_TRAVEL * (symbols.slider == "right"),
        "switch": SWITCH_ANGLE * (1 if symbols.bulb == "on" else -1),
    }
    hand = np.array(HOME) + rng.uniform(-1, 1, size=3) * HOME_SPREAD
    places = _on_table(variant, rng)
    drawer_y = FRONT - joints["drawer"] + INSIDE_DEPTH
    spots = rng.permutation(SPOTS)
    blocks: dict[str, tuple[Vector, float]] = {}
    for index, name in enumerate(BLOCKS):
        x, y, yaw = places[index]
        match getattr(symbols, name):
            case "drawer":
                at = (variant.fixtures.drawer + spots[index], drawer_y, DRAWER_FLOOR + HALF)
                blocks[name] = np.array(at), float(rng.uniform(-0.05, 0.05))
            case "held":
                blocks[name] = hand.copy(), 0.0
            case _:
                blocks[name] = np.array([x, y, HALF]), float(yaw)
    for name in symbols.at("stacked"):
        on, yaw = blocks[str(rng.choice(symbols.at("table")))]
        blocks[name] = on + np.array([0, 0, BLOCK_HEIGHT]), yaw + float(rng.uniform(-0.1, 0.1))
    held = symbols.at("held")
    return Layout(joints, symbols.light == "on", blocks, held[0] if held else None, hand)


def _on_table(variant: Variant, rng: np.random.Generator) -> Vector:
    """Poses of all blocks (B, 3): x and y (m) and yaw (rad)."""
    pairs = np.triu_indices(len(BLOCKS), 1)
    fixed = np.array([variant.fixtures.button, variant.fixtures.switch])
    for attempt in range(10_000):
        centres = rng.uniform(REGION_LOW, REGION_HIGH, size=(len(BLOCKS), 2))
        gaps = np.abs(centres[:, None] - centres[None, :])[pairs]
        in_lane = (gaps[:, 0] < LANE_LENGTH) & (gaps[:, 1] < LANE_WIDTH)
        apart = np.linalg.norm(gaps, axis=-1).min() >= APART
        beside = np.linalg.norm(centres[:, None] - fixed[None, :], axis=-1).min() >= FIXTURE_APART
        if apart and beside and not in_lane.any():
            break
        del attempt
    return np.column_stack([centres, rng.uniform(-YAW, YAW, size=len(BLOCKS))])
