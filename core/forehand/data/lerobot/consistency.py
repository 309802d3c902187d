"""Consistency checks of a dataset's tables: row counts, episode boundaries and video frames."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from forehand.data.lerobot.formats import open_layout
from forehand.data.lerobot.layout import SPANS
from forehand.data.reading import Rows
from forehand.errors import DatasetError

COUNTED = ("index", "episode_index", "frame_index")

_AT_ONCE = 2**20  # frames whose times are compared together


def read_spans(root: Path, info: Mapping[str, Any]) -> Rows:
    """The table of episodes of the dataset at ``root``: where each is in the tables, and in the videos of each camera."""
    return open_layout(root, info).spans()


def check_rows(rows: Rows, spans: Rows, info: Mapping[str, Any]) -> NDArray[np.int64]:
    """The first row of each episode, and N at the end; raises :class:`DatasetError` naming the row that does not follow.

    ``rows``: the frames, with the columns ``COUNTED``; ``spans``: :func:`read_spans`; ``info``: ``meta/info.json``.
    """
    _check_count(rows, "index", lambda number: number)
    if len(rows) != info["total_frames"]:
        raise _inconsistent(
            rows,
            f"the tables have {len(rows)} rows, the last in {rows.last_file}, for {info['total_frames']} total_frames",
        )
    episode = rows.integers("episode_index")
    if len(back := np.flatnonzero(np.diff(episode) < 0)):
        raise _inconsistent(rows, f"episodes are not stored in order: {rows.describe_rows(int(back[0]) + 1)} goes back")
    starts = np.concatenate([[0], np.flatnonzero(np.diff(episode)) + 1, [len(rows)]])
    _check_count(rows, "frame_index", lambda number: number - starts[np.searchsorted(starts, number, side="right") - 1])
    _check_spans(spans, episode[starts[:-1]], starts)
    return starts


def check_timestamps(rows: Rows, starts: NDArray[np.int64], rate: float) -> None:
    """Raise :class:`DatasetError` where the ``timestamp`` of a frame belongs to another one."""
    times = rows.array("timestamp")[:, 0]
    episode = np.searchsorted(starts, np.arange(0, len(times), _AT_ONCE), side="right") - 1
    for begin, end in itertools.pairwise([*dict.fromkeys(episode.tolist()), len(starts) - 1]):
        # Many episodes are looked at together, and each alone where something is wrong.
        span = slice(starts[begin], starts[end])
        due = np.arange(span.start, span.stop) - np.repeat(starts[begin:end], np.diff(starts[begin : end + 1]))
        if (np.abs(times[span].astype(np.float64) * rate - due) < 0.5).all():
            continue
        for first, last in itertools.pairwise(starts[begin : end + 1].tolist()):
            if not (found := irregularity(times[first:last], rate)):
                continue
            frame, how = found
            raise DatasetError(
                f"The timestamps of the dataset at {rows.root} are not those of {rate:g} frames a second: from "
                f"{rows.describe_rows(first + frame)} on (counted from 0), {how}. Correct the timestamps or the fps of "
                f"meta/info.json, or record at an even rate."
            )


def irregularity(times: NDArray[Any], rate: float) -> tuple[int, str] | None:
    """The first of a video's frames that is half a frame or more from its place at ``rate`` Hz, and how; or None.

    times: in seconds from the beginning, (N,).
    """
    times = times.astype(np.float64)
    late = times * rate - np.arange(len(times))
    wrong = np.flatnonzero(~(np.abs(late) < 0.5))
    if not len(wrong):
        return None
    frame = int(wrong[0])
    if frame == 0:
        return 0, f"the first frame comes at {times[0]:.3f} s instead of 0 s"
    step = times[frame] - times[frame - 1]
    if abs(step * rate - 1) >= 0.5:
        return frame, f"{step:.3f} s pass before the next frame, where {1 / rate:.3f} s are due"
    mean = times[frame] / frame
    return frame, f"the timestamps drift: frames are {1000 * mean:.2f} ms apart, where {1000 / rate:.2f} ms are due"


def _check_count(rows: Rows, column: str, due: Callable[[NDArray[np.int64]], NDArray[np.int64]]) -> None:
    """Compare whole numbers with those that are ``due`` by the number of the row."""
    first = 0
    for found in rows.integer_parts(column):
        expected = due(np.arange(first, first + len(found)))
        if len(wrong := np.flatnonzero(found != expected)):
            at = int(wrong[0])
            raise _inconsistent(
                rows, f"{rows.describe_rows(first + at)} has {column} {found[at]} where {expected[at]} is due"
            )
        first += len(found)


def _check_spans(table: Rows, episodes: NDArray[np.int64], starts: NDArray[np.int64]) -> None:
    """Compare the table of episodes with where they are."""
    lengths = np.diff(starts)
    number, *columns = (table.integers(name) for name in SPANS)
    if all(map(np.array_equal, (number, *columns), (episodes, lengths, starts[:-1], starts[1:]))):
        return
    there = dict(zip(episodes.tolist(), zip(lengths, starts[:-1], starts[1:], strict=True), strict=True))
    for row, (episode, *stated) in enumerate(zip(number.tolist(), *(c.tolist() for c in columns), strict=True)):
        found = there.pop(episode, None)
        if found is None:
            raise _inconsistent(
                table, f"{table.describe_rows(row)} is about episode {episode}, which has no rows or two entries"
            )
        for name, value, due in zip(SPANS[1:], stated, found, strict=True):
            if value != due:
                raise _inconsistent(
                    table,
                    f"{table.describe_rows(row)} has {name} {value} for episode {episode}, whose rows make it {due}",
                )
    if there:
        raise _inconsistent(table, f"meta/episodes lacks episode {next(iter(there))}, which has rows")


def _inconsistent(rows: Rows, what: str) -> DatasetError:
    return DatasetError(
        f"The tables of the dataset at {rows.root} do not belong together: {what} (rows are counted from 0). Pictures "
        f"would be taken for those of other frames. Fetch or copy the dataset again, whole; remove episodes with "
        f"lerobot-edit-dataset, never rows by hand."
    )
