"""Checks of motion: jumps, full turns, idle frames and episodes, and velocities above the contract's."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from forehand.data.checking.findings import NOTE, WARNING, Finding, finding
from forehand.data.checking.table import ACTION, STATE, Element, FrameTable
from forehand.data.checking.values import is_discrete

JUMP = 6.0
"""A jump is a step larger than this many of the 95 % quantile of all steps that move,"""

JUMP_SHARE = 0.1
"""and than this share of the middle 98 % of the column."""

COMMANDED = 1.05
"""and than this many times what an action may change at once."""

STILL = 1e-3
"""A step is still if it is within this share of the middle 98 % of a column."""

IDLE_SECONDS = 1.0
"""Time without motion from which on frames are idle."""

MUCH_IDLE = 0.3
"""Share of idle frames from which on they are a warning."""

_TURN = 2 * np.pi


def check_motion(table: FrameTable, still: NDArray[np.bool_]) -> Iterator[Finding]:
    """All findings about motion; ``still``: :func:`still_frames`."""
    for column in table.elements:
        yield from _jumps(table, column)
        yield from _too_fast(table, column)
    yield from _idle(table, still)


def still_frames(table: FrameTable) -> NDArray[np.bool_]:
    """Whether neither the state nor a discrete command changes from a frame to the next one, (N,).

    The last frame of an episode is as the one before it.
    """
    still = np.ones(max(len(table) - 1, 0), bool)
    for column in table.elements:
        values = table.values(column)
        finite = values[np.isfinite(values)]
        if not len(finite) or (column.vector == ACTION and not is_discrete(finite)):
            continue
        still &= np.abs(table.steps(column)) <= STILL * _width(finite)
    last = table.starts[1:] - 1
    result = np.concatenate([still, [False]])
    result[last] = np.where(table.lengths > 1, result[last - 1], False)
    return result


def _width(finite: NDArray[np.float32]) -> float:
    """Width of the middle 98 % of a column, or of all of it where that is nothing."""
    low, high = np.quantile(finite, [0.01, 0.99])
    return float(high - low) or float(finite.max() - finite.min())


def _jumps(table: FrameTable, column: Element) -> Iterator[Finding]:
    """Steps of positions that nothing could have moved; commands that are differences may jump.

    What one action may command by the contract, the difference of a field of the same name, is no jump.
    """
    if column.is_gripper or (column.vector == ACTION and column.field.mode != "absolute"):
        return
    values = table.values(column)
    finite = values[np.isfinite(values)]
    if len(finite) < 3 or is_discrete(finite):
        return
    steps = np.abs(table.steps(column))
    width = _width(finite)
    moving = steps[steps > STILL * width]
    if not len(moving):
        return
    usual = float(np.quantile(moving, 0.95))
    large = steps > max(JUMP * usual, JUMP_SHARE * width, COMMANDED * _commanded(table, column))
    turned = large & (np.abs(steps - _TURN) < 0.1 * _TURN) if column.is_angle else np.zeros_like(large)
    if len(rows := np.flatnonzero(turned)):
        yield finding(
            "full_turns",
            NOTE,
            f"{column.name} jumps by a full turn {len(rows)} times",
            "Angles that wrap at ±π look like large motions to a policy: a form of rotation without a seam avoids that.",
            column.name,
            table.places(rows + 1),
            len(rows),
        )
    if len(rows := np.flatnonzero(large & ~turned)):
        yield finding(
            "jumps",
            WARNING,
            f"{column.name} jumps {len(rows)} times: by up to {steps[rows].max():.4g} {column.unit}".rstrip()
            + f" from one frame to the next, where 95 % of its motions are below {usual:.4g}",
            "Look at these frames: some were lost, the recording was cut, or a sensor failed.",
            column.name,
            table.places(rows + 1),
            len(rows),
        )


def _commanded(table: FrameTable, column: Element) -> float:
    """The largest difference of an element of the state that an action may command; 0 where that is not stated."""
    for other in table.of(ACTION):
        field = other.field
        same = (field.name, field.size, other.element) == (column.field.name, column.field.size, column.element)
        if same and field.mode == "delta" and field.unit == column.field.unit and field.low and field.high:
            return max(-field.low[other.element], field.high[other.element])
    return 0.0


def _too_fast(table: FrameTable, column: Element) -> Iterator[Finding]:
    limit = column.field.max_velocity
    if column.vector != ACTION or limit is None or column.field.mode not in ("absolute", "delta"):
        return
    steps = table.values(column)[:-1] if column.field.mode == "delta" else table.steps(column)
    with np.errstate(invalid="ignore"):
        rows = np.flatnonzero(np.abs(steps) * table.rate > 1.05 * limit[column.element])
    if len(rows):
        fastest = float(np.nanmax(np.abs(steps[rows]))) * table.rate
        yield finding(
            "too_fast",
            WARNING,
            f"{column.name} is commanded at up to {fastest:.4g} {column.unit}/s in {len(rows)} frames, and the "
            f"contract's max_velocity is {limit[column.element]:g}",
            "Correct the rate, the unit or the limit in the contract; a robot with this contract clips them.",
            column.name,
            table.places(rows),
            len(rows),
        )


def _idle(table: FrameTable, still: NDArray[np.bool_]) -> Iterator[Finding]:
    if not table.of(STATE) or len(table) < 2:
        return
    moving = np.add.reduceat(~still, table.starts[:-1])
    idle = np.flatnonzero((moving == 0) & (table.lengths > 1))
    if len(idle):
        yield finding(
            "idle_episodes",
            WARNING,
            f"nothing moves in {len(idle)} of {len(table.numbers)} episodes",
            "Leave these episodes out: a policy would learn to stand still.",
            places=table.episodes(idle),
            count=len(idle),
        )
    begin, lengths = table.runs(still, max(3, round(IDLE_SECONDS * table.rate)))
    other = ~np.isin(table.episode_of(begin), idle)
    begin, lengths = begin[other], lengths[other]
    if len(begin):
        share = lengths.sum() / len(table)
        order = np.argsort(-lengths, kind="stable")
        yield finding(
            "idle_frames",
            WARNING if share >= MUCH_IDLE else NOTE,
            f"{100 * share:.1f} % of all frames are idle: nothing moves for {IDLE_SECONDS:g} s or more, "
            f"{len(begin)} times, for up to {lengths.max() / table.rate:.1f} s",
            "Leave idle frames out if a policy is not to pause.",
            places=table.places(begin[order], lengths[order]),
            count=len(begin),
        )
