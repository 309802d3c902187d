"""Reading of a LeRobotDataset's tables: states, actions, episode boundaries and tasks."""

from __future__ import annotations

from collections.abc import Container, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from forehand.data.consistency import COUNTED, check_rows, check_timestamps, read_spans
from forehand.data.episode_table import EpisodeTable
from forehand.data.features import ACTION_KEY, STATE_KEY, read_contract, read_info
from forehand.data.reading import Rows, read_table
from forehand.errors import DatasetError

TASKS_FILE = "meta/tasks.parquet"


def read_episodes(root: Path, spans: Rows | None = None) -> EpisodeTable:
    """Read and check the tables of the dataset at ``root``; raises :class:`DatasetError` naming the file and the row.

    spans: the table of episodes, where it was read already (:func:`forehand.data.consistency.read_spans`).
    """
    info, contract = read_info(root), read_contract(root)
    rows = Rows(root, "data", [STATE_KEY, *COUNTED], [ACTION_KEY, "task_index", "timestamp"])
    has_actions, has_tasks = ACTION_KEY in rows.columns, _has_tasks(root, info, rows.columns)
    starts = check_rows(rows, spans or read_spans(root, info), info)
    if "timestamp" in rows.columns:
        check_timestamps(rows, starts, float(info["fps"]))
    lengths = np.diff(starts)
    tasks = read_tasks(root) if has_tasks else {0: ""}
    return EpisodeTable(
        states=rows.vectors(STATE_KEY, contract.state_size),
        actions=rows.vectors(ACTION_KEY, contract.action_size) if has_actions else np.zeros((len(rows), 0), np.float32),
        episode=rows.integers("episode_index"),
        end=np.repeat(starts[1:], lengths),
        instructions=_task_positions(rows, tasks) if has_tasks else np.zeros(len(rows), np.int64),
        tasks=tuple(tasks.values()),
        has_action=np.full(len(rows), has_actions),
    )


def read_tasks(root: Path) -> dict[int, str]:
    """The instructions of the dataset at ``root`` by their ``task_index``, in its order."""
    path = root / TASKS_FILE
    table = read_table(path)
    names = [c for c in table.column_names if c != "task_index"]  # the index of a data frame, named or not
    if "task_index" not in table.column_names or not names:
        raise DatasetError(f"{path} has the columns {table.column_names}; it needs task_index and task.")
    words = table["task" if "task" in names else names[0]].to_pylist()
    numbers = table["task_index"].to_pylist()
    tasks: dict[int, str] = {}
    for number, task in zip(numbers, words, strict=True):
        if not isinstance(number, int) or not isinstance(task, str) or number in tasks:
            raise DatasetError(f"{path} has no single sentence for the task_index {number!r}. Correct it.")
        tasks[number] = task
    return dict(sorted(tasks.items()))


def _has_tasks(root: Path, info: Mapping[str, Any], columns: Container[str]) -> bool:
    """Whether the frames of a dataset have instructions."""
    if "task_index" not in columns or (root / TASKS_FILE).exists():
        return "task_index" in columns
    if info.get("total_tasks"):
        raise DatasetError(
            f"The dataset at {root} has {info['total_tasks']} tasks by meta/info.json, but no {TASKS_FILE} that "
            f"lists them. Fetch or copy it again, whole."
        )
    return False


def _task_positions(rows: Rows, tasks: Mapping[int, str]) -> NDArray[np.int64]:
    """Each row's sentence as a position in ``tasks``, (N,)."""
    wanted, known = rows.integers("task_index"), np.array(list(tasks), np.int64)
    found = np.searchsorted(known, wanted)
    if len(unknown := np.flatnonzero(~np.isin(wanted, known))):
        row = int(unknown[0])
        raise DatasetError(
            f"{rows.describe_rows(row)} of the dataset at {rows.root} has the task_index {wanted[row]}, which "
            f"{TASKS_FILE} does not have (rows are counted from 0). It has {', '.join(map(str, known[:10]))}. Fetch or "
            f"copy the dataset again, whole."
        )
    return found
