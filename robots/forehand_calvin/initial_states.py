"""Initial states: poses of robot and objects for the symbolic start of a chain.

Source: Mees et al. 2022, the long-horizon evaluation. What is drawn is seeded by a hash of the symbolic state: FNV-1 with
32 bits, from 0, over its values as text in UTF-16.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from forehand_calvin.tasks import BLOCKS, KEYS, State

ROBOT = (
    *(0.02586889, -0.2313129, 0.5712808, 3.09045411, -0.02908596, 1.50013585, 0.07999963),
    *(-1.21779124, 1.03987629, 2.11978254, -2.34205014, -0.87015899, 1.64119093, 0.55344928, 1.0),
)
"""``robot_obs`` at the start of every chain: end effector m and rad, width m, joints rad, gripper open."""

CABINET = {
    "slider_left": (-2.40851662e-01, 9.24044687e-02, 4.60990009e-01),
    "slider_right": (7.03416330e-02, 9.24044687e-02, 4.60990009e-01),
}
TABLE = (
    (5.00000896e-02, -1.20000177e-01, 4.59990009e-01),
    (2.29995412e-01, -1.19995140e-01, 4.59990010e-01),
)
TURN = (math.pi / 2 - math.pi / 8, math.pi / 2 + math.pi / 8)
SHIFTS = {"A": (0.0, 0.0), "B": (0.2, -0.2), "C": (0.2, 0.0), "D": (0.0, 0.0)}
"""Scene → m along x from where blocks lie in D, in the cabinet and on the table; of A to C no chains are published."""

SLIDER, DRAWER, SWITCH = 0.28, 0.22, 0.088  # joint positions: left, open, on


def text_hash(text: str) -> int:
    """FNV-1, 32 bits, from 0, over ``text`` in UTF-16 (little-endian)."""
    found = 0
    for byte in text.encode("utf-16-le"):
        found = (found * 0x01000193) % 2**32 ^ byte
    return found


def seed_of(start: State) -> int:
    """The seed of what a symbolic state leaves open."""
    return text_hash(str({key: start[key] for key in KEYS}.values()))


def initial_state(
    start: State, scene: str = "D", blocks: Sequence[str] = BLOCKS, seed: int | None = None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """``robot_obs`` (15,) and ``scene_obs`` (24,) of a symbolic state.

    ``scene``: A, B, C or D; ``blocks``: in the order of its file, which ``scene_obs`` has them in. ``seed``: of what the
    state leaves open; None: by its hash, as the benchmark has it.
    """
    generator = np.random.RandomState(seed_of(start) if seed is None else seed)
    table = list(TABLE)
    generator.shuffle(table)
    places = CABINET | {"table": table[0]}
    found = np.zeros(24)
    found[0] = SLIDER if start["slider"] == "left" else 0.0
    found[1] = DRAWER if start["drawer"] == "open" else 0.0
    found[3] = SWITCH if start["lightbulb"] == 1 else 0.0
    found[4:6] = start["lightbulb"], start["led"]
    for block in BLOCKS:
        if block == "pink_block" or (block == "blue_block" and start["red_block"] == "table"):
            places["table"] = table[1]
        place = str(start[block])
        first = 6 + 6 * blocks.index(block)
        found[first : first + 3] = places[place]
        found[first] += SHIFTS[scene][place == "table"]
        found[first + 5] = generator.uniform(*TURN)
    return np.array(ROBOT), found
