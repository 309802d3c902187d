"""The numbers of a dataset: states, actions, and where its episodes start and end."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from forehand.data.features import ACTION, STATE
from forehand.errors import DatasetError

TASKS_FILE = "meta/tasks.parquet"
QUANTILES = {"q01": 0.01, "q10": 0.1, "q50": 0.5, "q90": 0.9, "q99": 0.99}


@dataclass(frozen=True)
class Episodes:
    """Every frame of a dataset in order, N in all, without its images.

    states: (N, S) float32; actions: (N, A) float32; episode: (N,) the episode of each frame; end: (N,) one past the last
    frame of that episode; instructions: the N frames' tasks, as indices (N,) into ``tasks``; acts: (N,) bool, whether the
    frame has an action at all. A dataset without actions has A = 0, one without language the task "".
    """

    states: NDArray[np.float32]
    actions: NDArray[np.float32]
    episode: NDArray[np.int64]
    end: NDArray[np.int64]
    instructions: NDArray[np.int64]
    tasks: tuple[str, ...]
    acts: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.states)


def read_episodes(root: Path) -> Episodes:
    """Read the tables of the dataset at ``root``."""
    files = sorted((root / "data").rglob("*.parquet"))
    there = set(pq.read_schema(files[0]).names)
    acts, speaks = ACTION in there, "task_index" in there and (root / TASKS_FILE).exists()
    columns = [STATE, "episode_index", *([ACTION] if acts else ()), *(["task_index"] if speaks else ())]
    table = pa.concat_tables([pq.read_table(f, columns=columns) for f in files])
    episode = table["episode_index"].to_numpy()
    if np.any(np.diff(episode) < 0):
        raise DatasetError(
            f"The episodes of the dataset at {root} are not stored in order; its data/ files were mixed up."
        )
    last = np.append(np.flatnonzero(np.diff(episode)), len(episode) - 1)
    lengths = np.diff(last, prepend=-1)
    return Episodes(
        states=matrix(table[STATE]).astype(np.float32),
        actions=matrix(table[ACTION]).astype(np.float32) if acts else np.zeros((len(episode), 0), np.float32),
        episode=episode,
        end=np.repeat(last + 1, lengths),
        instructions=table["task_index"].to_numpy() if speaks else np.zeros(len(episode), np.int64),
        tasks=tuple(read_tasks(root)) if speaks else ("",),
        acts=np.full(len(episode), acts),
    )


def read_tasks(root: Path) -> list[str]:
    """The instructions of the dataset at ``root`` by their index."""
    table = pq.read_table(root / TASKS_FILE).sort_by("task_index")
    (name,) = (c for c in table.column_names if c != "task_index")  # the index of a data frame, named or not
    return [str(task) for task in table[name].to_pylist()]


def statistics(values: NDArray[Any]) -> dict[str, NDArray[np.float64]]:
    """Mean, std, min, max and quantiles of (N, D) values, each (D,), and count (1,), named as LeRobot names them.

    They are exact. LeRobot averages the quantiles of single episodes when it merges statistics, which pulls them towards
    the middle, and older datasets lack them.
    """
    wide = values.astype(np.float64)
    return {
        "mean": wide.mean(axis=0),
        "std": wide.std(axis=0),
        "min": wide.min(axis=0),
        "max": wide.max(axis=0),
        "count": np.array([len(wide)]),
        **dict(zip(QUANTILES, np.quantile(wide, list(QUANTILES.values()), axis=0), strict=True)),
    }


def matrix(column: pa.ChunkedArray) -> NDArray[Any]:
    """A column of numbers, or of vectors, as (N, D)."""
    flat = column.combine_chunks()
    if not pa.types.is_floating(flat.type) and not pa.types.is_integer(flat.type):
        flat = flat.flatten()
    values: NDArray[Any] = flat.to_numpy(zero_copy_only=False).reshape(len(column), -1)
    return values
