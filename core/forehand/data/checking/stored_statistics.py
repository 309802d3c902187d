"""Check of stored statistics against those of the values themselves."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from forehand.data.checking.findings import NOTE, WARNING, Finding, finding
from forehand.data.checking.table import ACTION, STATE, Element, FrameTable
from forehand.data.episode_table import column_statistics
from forehand.data.features import ACTION_KEY, STATE_KEY, STATS_FILE, read_mapping
from forehand.errors import DatasetError

KEYS = {STATE: STATE_KEY, ACTION: ACTION_KEY}

TOLERANCE = 0.01
"""Difference, in standard deviations of a column, from which on a stored statistic is wrong."""

REMEDY = "Compute them anew; Forehand does so by itself at training, other programs take what is stored."


def table_statistics(table: FrameTable) -> dict[Element, dict[str, float]]:
    """Mean, std, min, max and quantiles of every column, of its finite values."""
    found = {}
    for column in table.elements:
        values = table.values(column)
        finite = values[np.isfinite(values)]
        if len(finite):
            of_one = column_statistics(finite[:, None])
            found[column] = {name: float(value[0]) for name, value in of_one.items()}
    return found


def check_stored_statistics(
    root: Path, table: FrameTable, statistics: Mapping[Element, Mapping[str, float]]
) -> Iterator[Finding]:
    """Findings about ``meta/stats.json`` of the LeRobotDataset at ``root``; ``statistics``: :func:`table_statistics`."""
    path = root / STATS_FILE
    if not path.exists():
        yield finding("no_statistics", NOTE, f"there is no {STATS_FILE}", REMEDY)
        return
    try:
        stored = read_mapping(path)
    except DatasetError as error:
        yield finding("unreadable_statistics", WARNING, str(error), REMEDY)
        return
    for vector, key in KEYS.items():
        columns = table.of(vector)
        if not columns:
            continue
        yield from _compare(stored.get(key), key, columns, statistics)


def _compare(
    stored: Any, key: str, columns: tuple[Element, ...], statistics: Mapping[Element, Mapping[str, float]]
) -> Iterator[Finding]:
    wrong: dict[str, str] = {}
    for name in ("mean", "std", "min", "max"):
        values = _numbers(stored, name)
        if values is None or len(values) != len(columns):
            yield finding(
                "wrong_statistics",
                WARNING,
                f"{STATS_FILE} has no {name} of {len(columns)} elements for {key!r}",
                REMEDY,
                key,
            )
            return
        for column, value in zip(columns, values.tolist(), strict=True):
            if (true := statistics.get(column)) is None:
                continue
            slack = TOLERANCE * true["std"] + 1e-4 * abs(true[name]) + 1e-6
            if not abs(value - true[name]) <= slack:
                wrong.setdefault(column.name, f"{name} is stored as {value:.5g} and is {true[name]:.5g}")
    count = _numbers(stored, "count")
    frames = max((int(statistics[c]["count"]) for c in columns if c in statistics), default=0)
    if count is not None and count[0] != frames:
        wrong.setdefault(key, f"they are of {count[0]:g} frames, and there are {frames}")
    if wrong:
        first, how = next(iter(wrong.items()))
        yield finding(
            "wrong_statistics",
            WARNING,
            f"{STATS_FILE} does not fit {len(wrong)} of the columns of {key!r}: of {first}, {how}",
            REMEDY,
            first,
        )


def _numbers(stored: Any, name: str) -> NDArray[np.float64] | None:
    try:
        return np.asarray(stored[name], np.float64).reshape(-1)
    except (KeyError, TypeError, ValueError):
        return None
