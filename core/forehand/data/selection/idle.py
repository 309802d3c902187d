"""Idle frames: those in which hardly anything moves, by thresholds in the units of the contract."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from forehand.contracts.contract import Contract, Field
from forehand.data.episode_table import EpisodeTable
from forehand.errors import ConfigurationError, nearest

TURNS = {"rad": 2 * np.pi, "deg": 360.0}
BLOCK = 2**20
"""Frames that are compared at once."""

_SIDES = ("state", "action")


def moving_frames(
    table: EpisodeTable, contract: Contract, thresholds: Mapping[str, float], where: str
) -> NDArray[np.bool_]:
    """Whether something moves in each frame, (N,): from it to the next one, by ``thresholds`` or more.

    thresholds: field of the state or the action, as ``position`` or ``action.position`` → the least motion of one of its
    elements, in its unit; 0 is any change. A field of the action whose mode is ``delta`` moves by its own value. In the
    last frame of an episode nothing else can move. Angles are compared around the circle.

    Raises :class:`ConfigurationError` for a field that there is not. Source: the idle frames of the Seer paper's real
    robot, ``{position: 5e-4, gripper: 0}``.
    """
    compared = [(*find_field(contract, name, where), least) for name, least in thresholds.items()]
    moving = np.zeros(len(table), bool)
    for begin in range(0, len(table), BLOCK):
        frames = np.arange(begin, min(begin + BLOCK, len(table)))
        following = np.minimum(frames + 1, table.end[frames] - 1)
        for side, field, first, least in compared:
            values = (table.states if side == "state" else table.actions)[:, first : first + field.size]
            moved = values[frames].astype(np.float64)
            if not (side == "action" and field.mode == "delta"):
                moved = _around(values[following] - moved, field)
            moved = np.abs(moved)
            moving[frames] |= (moved >= least if least else moved > 0).any(axis=1)
    return moving


def used_frames(moving: NDArray[np.bool_], first: NDArray[np.int64], end: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Frames that stay, (N,): those that move, and in each episode all behind the last of them.

    first, end: of each episode, (E,), one past its last frame. Of an episode in which nothing moves, none stays.
    """
    number = np.arange(len(moving))
    last = np.maximum.reduceat(np.where(moving, number, -1), first)
    last = np.repeat(np.where(last < 0, len(moving), last), end - first)
    return moving | (number > last)


def find_field(contract: Contract, name: str, where: str) -> tuple[str, Field, int]:
    """The side, the field and its first element of what is called ``name``; raises :class:`ConfigurationError`."""
    found, known = [], []
    for side in _SIDES:
        first = 0
        for field in getattr(contract, side):
            known.append(f"{side}.{field.name}")
            if name in (field.name, known[-1]):
                found.append((side, field, first))
            first += field.size
    if len(found) != 1:
        if found:
            both = " and ".join(f"{side}.{name}" for side, _, _ in found)
            raise ConfigurationError(f"{where}: {name!r} is in the state and in the action. Write one of {both}.")
        raise ConfigurationError(f"{where}: there is no field {name!r}. {nearest(name, known)}")
    return found[0]


def _around(difference: NDArray[np.float64], field: Field) -> NDArray[np.float64]:
    turn = TURNS.get(field.unit or "")
    return difference if turn is None else (difference + turn / 2) % turn - turn / 2
