"""Conditions on columns: which episodes of a dataset have certain values.

A condition is a value; a list of values, of which one has to be there; or bounds by name ::

    is_episode_successful: true
    building: [AUTOLab, CLVR]             words may be patterns, with * for any text
    length: {at_least: 20, below: 500}    also above, at_most
    collector: {not: [tele, "test*"]}
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

import numpy as np
from numpy.typing import NDArray

from forehand.data.episode_table import EpisodeTable
from forehand.data.mapping.columns import parse_selector
from forehand.data.source import DataSource
from forehand.errors import ConfigurationError, nearest

Mask = NDArray[np.bool_]

BOUNDS: Mapping[str, Callable[[Any, Any], Any]] = {
    "at_least": operator.ge,
    "above": operator.gt,
    "at_most": operator.le,
    "below": operator.lt,
}
NOT = "not"


def meets_condition(source: DataSource, column: str, condition: Any, last: NDArray[np.int64]) -> Mask:
    """Whether each episode of ``source`` meets ``condition`` on ``column``, (E,).

    column: a column of frames, which counts by its value in the frames ``last`` (E,), or of episodes; or elements of one
    (:mod:`forehand.data.mapping.columns`). Raises :class:`ConfigurationError`.
    """
    where = f"the dataset at {source.root}: where.{column}"
    columns = source.columns
    if column in columns and columns[column].size == 0:
        numbers, texts = source.words(column)
        wanted = np.array([_matches(text, condition, where) for text in texts], bool)
        return wanted[numbers if columns[column].per_episode else numbers[last]]
    if column == "length" and column not in columns:
        return _compare(np.diff(last, prepend=-1), condition, where)
    name = column.partition("[")[0]
    if name not in columns:
        raise ConfigurationError(f"{where}: there is no column {name!r}. {nearest(name, (*columns, 'length'))}")
    name, elements = parse_selector(column, columns, where)
    if len(elements) != 1:
        raise ConfigurationError(f"{where}: it has {len(elements)} elements. Name one of them: {name}[0].")
    values = source.column(name)[:, elements[0]]
    return _compare(values if columns[name].per_episode else values[last], condition, where)


def said_in_episodes(table: EpisodeTable, patterns: Sequence[str], first: NDArray[np.int64]) -> Mask:
    """Whether one of the sentences or ``patterns`` is said in each episode, (E,); ``first``: their first frames (E,)."""
    every = table.paraphrases or tuple((task,) for task in table.tasks)
    said = np.array([any(_is_like(text, p) for text in texts for p in patterns) for texts in every], bool)
    return np.logical_or.reduceat(said[table.instructions], first)


def _is_like(text: str, pattern: str) -> bool:
    return text == pattern or fnmatchcase(text, pattern)


def _matches(text: str, condition: Any, where: str) -> bool:
    if isinstance(condition, Mapping):
        if set(condition) != {NOT}:
            raise ConfigurationError(f"{where}: of words a condition is texts, or {{not: texts}}, not {condition!r}.")
        return not _matches(text, condition[NOT], where)
    texts = [condition] if isinstance(condition, str) else condition
    if not isinstance(texts, Sequence) or not all(isinstance(one, str) for one in texts):
        raise ConfigurationError(f"{where}: the column holds words; {condition!r} is no text, nor a list of texts.")
    return any(_is_like(text, one) for one in texts)


def _compare(values: NDArray[Any], condition: Any, where: str) -> Mask:
    if isinstance(condition, Mapping):
        found = np.ones(len(values), bool)
        for name, value in condition.items():
            if name == NOT:
                found &= ~_compare(values, value, where)
            elif name in BOUNDS:
                found &= BOUNDS[name](values, _number(value, where))
            else:
                raise ConfigurationError(f"{where}: there is no {name!r}. {nearest(name, (NOT, *BOUNDS))}")
        return found
    wanted = [condition] if isinstance(condition, str) or not isinstance(condition, Sequence) else condition
    return np.isin(values, np.array([_number(one, where) for one in wanted]).astype(values.dtype))


def _number(value: Any, where: str) -> float:
    if not isinstance(value, int | float):
        raise ConfigurationError(f"{where}: the column holds numbers, and {value!r} is none.")
    return value
