"""Check of stored statistics against those of the values themselves."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from forehand.data.checking.findings import NOTE, WARNING, Finding, finding
from forehand.data.checking.table import ACTION, STATE, Element, FrameTable
from forehand.data.episode_table import column_statistics
from forehand.data.features import ACTION_KEY, STATE_KEY
from forehand.data.lerobot.layout import Layout
from forehand.errors import DatasetError

NAMES = ("mean", "std", "min", "max")

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
    layout: Layout, table: FrameTable, statistics: Mapping[Element, Mapping[str, float]]
) -> Iterator[Finding]:
    """Findings about the statistics that a LeRobotDataset states; ``statistics``: :func:`table_statistics`."""
    name = str(layout.statistics_file.relative_to(layout.root))
    if not layout.statistics_file.exists():
        yield finding("no_statistics", NOTE, f"there is no {name}", REMEDY)
        return
    for vector, key in KEYS.items():
        if not (elements := table.of(vector)):
            continue
        try:
            stated = layout.image_statistics(key)  # which is of any feature
            found = {one: np.asarray(stated[one], np.float64).reshape(-1) for one in (*NAMES, "count")}
        except DatasetError as error:
            yield finding("unreadable_statistics", WARNING, str(error), REMEDY)
            return
        except (KeyError, TypeError, ValueError):
            yield finding("no_statistics", WARNING, f"{name} has no complete statistics of {key!r}", REMEDY, key)
            continue
        yield from _compare(name, found, key, elements, statistics)


def _compare(
    name: str,
    stated: Mapping[str, NDArray[np.float64]],
    key: str,
    elements: tuple[Element, ...],
    statistics: Mapping[Element, Mapping[str, float]],
) -> Iterator[Finding]:
    wrong: dict[str, str] = {}
    for one in NAMES:
        if len(stated[one]) != len(elements):
            wrong[key] = f"{one} has {len(stated[one])} elements instead of {len(elements)}"
            continue
        for element, value in zip(elements, stated[one].tolist(), strict=True):
            if (true := statistics.get(element)) is None:
                continue
            slack = TOLERANCE * true["std"] + 1e-4 * abs(true[one]) + 1e-6
            if not abs(value - true[one]) <= slack:
                wrong.setdefault(element.name, f"{one} is stored as {value:.5g} and is {true[one]:.5g}")
    frames = max((int(statistics[e]["count"]) for e in elements if e in statistics), default=0)
    if stated["count"][0] != frames:
        wrong.setdefault(key, f"they are of {stated['count'][0]:g} frames, and there are {frames}")
    if wrong:
        (first, how), *rest = wrong.items()
        more = f"; {len(rest)} more of {key!r} are wrong" if rest else ""
        yield finding("wrong_statistics", WARNING, f"{name} does not fit {first}: {how}{more}", REMEDY, first)
