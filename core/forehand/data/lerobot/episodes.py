"""Reading of a LeRobotDataset's tables: states, actions, episode boundaries and tasks."""

from __future__ import annotations

from collections.abc import Container, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from forehand.data.episode_table import EpisodeTable
from forehand.data.features import ACTION_KEY, CONTRACT_FILE, STATE_KEY, read_contract, read_info
from forehand.data.labels import LABEL_KEYS, read_confidence
from forehand.data.lerobot.consistency import COUNTED, check_rows, check_timestamps
from forehand.data.lerobot.formats import open_layout
from forehand.data.lerobot.layout import Layout
from forehand.data.reading import Rows
from forehand.errors import DatasetError


def read_episodes(root: Path, spans: Rows | None = None) -> EpisodeTable:
    """Read and check the tables of the dataset at ``root``; raises :class:`DatasetError` naming the file and the row.

    spans: the table of episodes, where it was read already (:func:`forehand.data.lerobot.consistency.read_spans`).
    """
    info, contract = read_info(root), read_contract(root)
    layout = open_layout(root, info)
    has_states = STATE_KEY in info["features"]
    columns = [STATE_KEY, *COUNTED] if has_states else [*COUNTED]
    rows = Rows(root, "data", columns, [ACTION_KEY, *LABEL_KEYS, "task_index", "timestamp"])
    has_actions, has_tasks = ACTION_KEY in rows.columns, _has_tasks(layout, rows.columns)
    if (ACTION_KEY in info["features"] or contract.action) and not has_actions:
        stated = "meta/info.json" if ACTION_KEY in info["features"] else CONTRACT_FILE
        raise DatasetError(
            f"The tables of the dataset at {root} lack the column {ACTION_KEY!r}, which {stated} states. Fetch or copy "
            f"it again, whole; of a dataset without actions, remove them from {stated}."
        )
    starts = check_rows(rows, spans or layout.spans(), info)
    if "timestamp" in rows.columns:
        check_timestamps(rows, starts, float(info["fps"]))
    kind = np.int32 if rows.large else np.int64
    lengths = np.diff(starts)
    tasks = layout.tasks() if has_tasks else {0: ""}
    confidence = read_confidence(rows) if has_actions else None
    return EpisodeTable(
        states=rows.vectors(STATE_KEY, contract.state_size) if has_states else np.zeros((len(rows), 0), np.float32),
        actions=rows.vectors(ACTION_KEY, contract.action_size) if has_actions else np.zeros((len(rows), 0), np.float32),
        episode=rows.integers("episode_index").astype(kind),
        end=np.repeat(starts[1:].astype(kind), lengths),
        instructions=(
            _task_positions(rows, tasks, layout.tasks_file).astype(kind) if has_tasks else np.zeros(len(rows), kind)
        ),
        tasks=tuple(tasks.values()),
        has_action=np.full(len(rows), has_actions) if confidence is None else confidence != 0,
        confidence=confidence,
    )


def read_tasks(root: Path) -> dict[int, str]:
    """The instructions of the dataset at ``root`` by their ``task_index``, in its order."""
    return open_layout(root).tasks()


def _has_tasks(layout: Layout, columns: Container[str]) -> bool:
    """Whether the frames of a dataset have instructions."""
    if "task_index" not in columns or (layout.root / layout.tasks_file).exists():
        return "task_index" in columns
    if stated := layout.info.get("total_tasks"):
        raise DatasetError(
            f"The dataset at {layout.root} has {stated} tasks by meta/info.json, but no {layout.tasks_file} that "
            f"lists them. Fetch or copy it again, whole."
        )
    return False


def _task_positions(rows: Rows, tasks: Mapping[int, str], file: str) -> NDArray[np.int64]:
    """Each row's sentence as a position in ``tasks``, (N,)."""
    wanted, known = rows.integers("task_index"), np.array(list(tasks), np.int64)
    found = np.searchsorted(known, wanted)
    if len(unknown := np.flatnonzero(~np.isin(wanted, known))):
        row = int(unknown[0])
        raise DatasetError(
            f"{rows.describe_rows(row)} of the dataset at {rows.root} has the task_index {wanted[row]}, which "
            f"{file} does not have (rows are counted from 0). It has {', '.join(map(str, known[:10]))}. Fetch or "
            f"copy the dataset again, whole."
        )
    return found
