"""Columns of a LeRobotDataset's tables: the numbers and words of each frame, and what is said about each episode."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from forehand.contracts.contract import Contract
from forehand.data.features import ACTION_KEY, STATE_KEY, element_names, feature_names
from forehand.data.lerobot.layout import Layout
from forehand.data.reading import Rows, table_columns, table_files
from forehand.data.source import Column
from forehand.errors import DatasetError

WORDS = "string"
NUMBERS = ("float", "int", "uint", "bool")

_POSITIONS = ("stats/", "videos/", "data/", "meta/", "dataset_")
"""Beginnings of the columns of the table of episodes that say where things are, and not what they are."""


def recorded_columns(layout: Layout, contract: Contract) -> dict[str, Column]:
    """The columns of a dataset, of frames and of episodes."""
    fields = {STATE_KEY: contract.state, ACTION_KEY: contract.action}
    found = _episode_columns(layout)
    there = table_columns(table_files(layout.root, "data")[0])
    for key, feature in layout.info["features"].items():
        kind, size = feature["dtype"], _size(feature.get("shape"))
        if key not in there or not (kind == WORDS or (kind.startswith(NUMBERS) and size)):
            continue
        size = 0 if kind == WORDS else size
        stated = fields.get(key, ())
        names = feature_names(feature) or tuple(element_names(stated))
        found[key] = Column(size, names if len(names) == size else (), stated)
    return found


def read_column(layout: Layout, name: str, column: Column) -> NDArray[Any]:
    """The numbers of a column, (N, D) or (E, D); raises :class:`DatasetError` where it holds none."""
    if not column.size:
        raise DatasetError(f"The column {name!r} of the dataset at {layout.root} holds words, and numbers are needed.")
    if column.per_episode:
        rows = layout.episodes(["episode_index", name])
        return rows.array(name)[np.argsort(rows.integers("episode_index"), kind="stable")]
    return Rows(layout.root, "data", [name]).array(name)


def read_words(layout: Layout, name: str, column: Column) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """The words of a column: the number of each row's text, and the texts; :class:`DatasetError` where it holds none."""
    if column.size:
        raise DatasetError(f"The column {name!r} of the dataset at {layout.root} holds numbers, and words are needed.")
    if column.per_episode:
        rows = layout.episodes(["episode_index", name])
        numbers, texts = rows.words(name)
        return numbers[np.argsort(rows.integers("episode_index"), kind="stable")], texts
    return Rows(layout.root, "data", [name]).words(name)


def _episode_columns(layout: Layout) -> dict[str, Column]:
    found = {}
    for name, kind in layout.episode_columns().items():
        if name.startswith(_POSITIONS):
            continue
        if pa.types.is_string(kind) or pa.types.is_large_string(kind):
            found[name] = Column(0, per_episode=True)
        elif pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind):
            found[name] = Column(1, per_episode=True)
    return found


def _size(shape: Any) -> int:
    """Numbers of a feature, 0 where its shape is none."""
    whole = isinstance(shape, Sequence) and bool(shape) and all(isinstance(n, int) and n > 0 for n in shape)
    return math.prod(shape) if whole else 0
