"""Reading of a damaged LeRobotDataset: the tables that can be read, with a finding for each that cannot."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from forehand.contracts.contract import Contract
from forehand.data.checking.findings import ERROR, Finding, finding
from forehand.data.checking.table import FrameTable, elements_of
from forehand.data.features import ACTION_KEY, STATE_KEY
from forehand.data.reading import read_table, table_files, to_matrix
from forehand.errors import DatasetError

REMEDY = "Fetch or copy the dataset again, whole."

_WANTED = ("episode_index", "timestamp", STATE_KEY, ACTION_KEY)


def read_partially(root: Path, contract: Contract) -> tuple[FrameTable | None, list[Finding]]:
    """The frames in the readable tables of the dataset at ``root``, or None, and findings about the other tables.

    Values that are missing are NaN. Episodes are distinguished by ``episode_index``, in the order of the rows.
    """
    parts: list[dict[str, NDArray[np.float64]]] = []
    findings: list[Finding] = []
    try:
        files = table_files(root, "data")
    except DatasetError as error:
        return None, [finding("unreadable_table", ERROR, str(error), REMEDY)]
    for file in files:
        try:
            parts.append(_read(file, contract))
        except (DatasetError, ValueError) as error:
            name = file.relative_to(root)
            findings.append(finding("unreadable_table", ERROR, f"{name} cannot be checked: {error}", REMEDY))
    parts = [part for part in parts if len(part["episode_index"])]
    if not parts:
        return None, findings
    return _join(parts, contract), findings


def _join(parts: list[dict[str, NDArray[np.float64]]], contract: Contract) -> FrameTable:
    together = {
        name: np.concatenate([part[name] for part in parts]) for name in _WANTED if all(name in part for part in parts)
    }
    episode = together["episode_index"][:, 0].astype(np.int64)
    starts = np.concatenate([[0], np.flatnonzero(np.diff(episode)) + 1, [len(episode)]])
    none = np.zeros((len(episode), 0), np.float32)
    states, actions = (together[k].astype(np.float32) if k in together else none for k in (STATE_KEY, ACTION_KEY))
    there = {"state": states.shape[1] > 0, "action": actions.shape[1] > 0}
    times = together.get("timestamp")
    return FrameTable(
        contract,
        tuple(element for element in elements_of(contract) if there[element.vector]),
        states,
        actions,
        starts,
        episode[starts[:-1]],
        np.zeros(len(episode), np.int64),
        (),
        None if times is None else times[:, 0],
    )


def _read(file: Path, contract: Contract) -> dict[str, NDArray[np.float64]]:
    table = read_table(file, ["episode_index"], [name for name in _WANTED if name != "episode_index"])
    found = {}
    sizes = {STATE_KEY: contract.state_size, ACTION_KEY: contract.action_size}
    for name in table.column_names:
        values = _matrix(table[name])
        if name in sizes and values.shape[1] != sizes[name]:
            raise ValueError(f"{name!r} has {values.shape[1]} elements, and {sizes[name]} by the contract")
        found[name] = values
    return found


def _matrix(column: pa.ChunkedArray) -> NDArray[np.float64]:
    """A column as (N, D), with NaN for missing values and for rows that are not there."""
    try:
        return to_matrix(column).astype(np.float64)
    except ValueError:
        rows = column.to_pylist()
        size = max((len(row) if isinstance(row, list) else 1 for row in rows if row is not None), default=1)
        full = np.full((len(rows), size), np.nan)
        for i, row in enumerate(rows):
            values = row if isinstance(row, list) else [row]
            if row is not None and len(values) == size:
                full[i] = [np.nan if value is None else float(value) for value in values]
        return full


def read_times(root: Path, frames: int) -> NDArray[np.float64] | None:
    """The timestamps of all ``frames`` of the dataset at ``root``, (N,); None where it has none, or not so many."""
    found = []
    for file in table_files(root, "data"):
        table = read_table(file, [], ["timestamp"])
        if "timestamp" not in table.column_names:
            return None
        try:
            found.append(to_matrix(table["timestamp"])[:, 0].astype(np.float64))
        except ValueError:
            return None
    times = np.concatenate(found)
    return times if len(times) == frames else None
