"""Checks of values: not finite, constant, outside the contract's range, outliers, saturation, quaternions."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from forehand.data.checking.findings import ERROR, NOTE, WARNING, Finding, finding
from forehand.data.checking.table import ACTION, STATE, Element, FrameTable

FEW = 10
"""Distinct values up to which a column counts as discrete, such as the commands of a gripper."""

SATURATED = 0.05
"""Share of frames at an end of the range from which on a column is saturated."""

OUTLIER = 5.0
"""Distance from the middle 98 % of a column, in widths of it, from which on a value is an outlier."""

SLACK = {STATE: 0.02, ACTION: 0.001}
"""By what share of its range a value may leave it: what is measured is never exact."""

ROUNDING = 1e-6
"""Width, in parts of the largest value or absolute, of a column that is constant but for rounding."""

_SAMPLE = 100_000


def check_values(table: FrameTable) -> Iterator[Finding]:
    """All findings about single values, column by column."""
    for vector in dict.fromkeys(column.vector for column in table.elements):
        constant = []
        for column in table.of(vector):
            values = table.values(column)
            yield from _not_finite(table, column, values)
            finite = values[np.isfinite(values)]
            if not len(finite):
                continue
            yield from _out_of_range(table, column, values)
            if np.ptp(finite) <= ROUNDING * max(1.0, float(np.abs(finite).max())):
                constant.append(column)
            elif not is_discrete(finite):
                yield from _outliers(table, column, values, finite)
                yield from _saturation(column, finite)
        yield from _constant(table, vector, constant)
    yield from _quaternions(table)


def is_discrete(values: NDArray[np.float32]) -> bool:
    """Whether a column (N,) has at most :data:`FEW` values, by a sample of it."""
    return len(np.unique(values[:: max(1, len(values) // _SAMPLE)])) <= FEW


def _not_finite(table: FrameTable, column: Element, values: NDArray[np.float32]) -> Iterator[Finding]:
    rows = np.flatnonzero(~np.isfinite(values))
    if len(rows):
        yield finding(
            "not_finite",
            ERROR,
            f"{column.name} is NaN or infinite in {len(rows)} of {len(table)} frames",
            "Correct these values, or leave their episodes out (lerobot-edit-dataset).",
            column.name,
            table.places(rows),
            len(rows),
        )


def _out_of_range(table: FrameTable, column: Element, values: NDArray[np.float32]) -> Iterator[Finding]:
    low, high = (None if b is None else b[column.element] for b in (column.field.low, column.field.high))
    if low is None and high is None:
        return
    low, high = -np.inf if low is None else low, np.inf if high is None else high
    share = SLACK[column.vector]
    slack = share * (high - low) if np.isfinite(high - low) else share
    rows = np.flatnonzero((values < low - slack) | (values > high + slack))
    if len(rows):
        extreme = values[rows[np.argmax(np.abs(values[rows] - np.clip(values[rows], low, high)))]]
        yield finding(
            "out_of_range",
            WARNING,
            f"{column.name} is outside the contract's range [{low:g}, {high:g}] in {len(rows)} frames: up to {extreme:g}",
            "Correct the range or the unit in the contract, or the values; a robot with this contract clips them.",
            column.name,
            table.places(rows),
            len(rows),
        )


def _constant(table: FrameTable, vector: str, constant: list[Element]) -> Iterator[Finding]:
    if len(constant) == len(table.of(vector)) and constant and len(table) > 1:
        yield finding(
            "constant",
            WARNING,
            f"the {vector} is the same in every frame",
            f"Nothing can be learned from it: look at how the {vector} was recorded.",
        )
        return
    if constant:
        names = ", ".join(f"{column.name} ({_typical(table.values(column)):g})" for column in constant)
        yield finding(
            "constant",
            NOTE,
            f"the same in every frame: {names}",
            "Fine if it is meant so; scaled by its standard deviation or range it would be noise.",
            constant[0].name if len(constant) == 1 else None,
        )


def _typical(values: NDArray[np.float32]) -> float:
    return round(float(np.median(values[np.isfinite(values)])), 6) + 0.0  # no negative zero


def _outliers(
    table: FrameTable, column: Element, values: NDArray[np.float32], finite: NDArray[np.float32]
) -> Iterator[Finding]:
    low, high = np.quantile(finite, [0.01, 0.99])
    width = high - low
    if width <= 1e-3 * max(abs(low), abs(high)):  # hardly ever another value: what is rare is no outlier
        return
    with np.errstate(invalid="ignore"):
        rows = np.flatnonzero((values < low - OUTLIER * width) | (values > high + OUTLIER * width))
    if len(rows):
        extreme = values[rows[np.argmax(np.abs(values[rows] - (low + high) / 2))]]
        yield finding(
            "outliers",
            WARNING,
            f"{column.name} is {extreme:g} at its most extreme, and within [{low:.4g}, {high:.4g}] in 98 % of all frames",
            "Look at these frames: a sensor may have failed. Normalization by range would be decided by them.",
            column.name,
            table.places(rows),
            len(rows),
        )


def _saturation(column: Element, finite: NDArray[np.float32]) -> Iterator[Finding]:
    """Commands that stay at an end of their range were probably clipped; measured values may well rest there."""
    if column.vector != ACTION or column.is_gripper:
        return
    for end, name in ((finite.min(), "smallest"), (finite.max(), "largest")):
        share = float(np.mean(finite == end))
        if share >= SATURATED:
            yield finding(
                "saturated",
                NOTE,
                f"{column.name} is at its {name} value, {end:g}, in {100 * share:.0f} % of all frames",
                "Commands were clipped there, or driven at full speed.",
                column.name,
            )


def _quaternions(table: FrameTable) -> Iterator[Finding]:
    for column in table.elements:
        rotation = column.field.rotation or ""
        if column.element or not rotation.startswith("quaternion") or column.field.size != 4:
            continue
        vector = table.states if column.vector != ACTION else table.actions
        norms = np.linalg.norm(vector[:, column.index : column.index + 4], axis=1)
        with np.errstate(invalid="ignore"):
            rows = np.flatnonzero(np.abs(norms - 1) > 0.01)
        if len(rows):
            yield finding(
                "quaternion_norm",
                WARNING,
                f"{column.vector}.{column.field.name} is no unit quaternion in {len(rows)} frames: its norm is "
                f"{norms[rows[0]]:.3g}",
                "Normalize it, or correct the form of rotation in the contract.",
                f"{column.vector}.{column.field.name}",
                table.places(rows),
                len(rows),
            )
