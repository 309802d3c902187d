"""Checks of video files: that they have the frames that episodes claim, no fewer and no more, and end whole."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from forehand.data.checking.findings import ERROR, WARNING, Finding, finding
from forehand.data.checking.table import FrameTable
from forehand.data.lerobot.video_pictures import VideoPictures
from forehand.data.source import DataSource
from forehand.errors import DatasetError
from forehand.utils.video import count_frames


def check_videos(source: DataSource, table: FrameTable) -> Iterator[Finding]:
    """All findings about the video files of every camera; of each file one frame is decoded, the last."""
    for camera in source.contract.cameras:
        try:
            pictures = source.pictures(camera.name)
        except DatasetError:  # said where images are decoded
            continue
        if isinstance(pictures, VideoPictures):
            for file in range(len(pictures.spans.files)):
                yield from _check_file(pictures, file, camera.name, table)


def _check_file(pictures: VideoPictures, file: int, camera: str, table: FrameTable) -> Iterator[Finding]:
    spans, name = pictures.spans, pictures.spans.files[file]
    rows = np.flatnonzero(spans.file == file)
    begin = np.round(spans.start[rows] * pictures.rate).astype(np.int64)
    rows, begin = rows[order := np.argsort(begin)], begin[order]
    ends = begin + spans.last[rows] - spans.first[rows]
    gaps = begin - np.concatenate([[0], ends[:-1]])
    if len(gap := np.flatnonzero(gaps > 0)):
        yield finding(
            "unclaimed_frames",
            WARNING,
            f"{int(gaps[gap].sum())} frames of {name} belong to no episode, the first of them "
            f"{int(begin[gap[0]] - gaps[gap[0]])} (counted from 0)",
            "Look at the column from_timestamp of meta/episodes: images may be those of other frames.",
            camera,
            table.episodes(np.searchsorted(table.starts[:-1], spans.first[rows[gap]])),
            len(gap),
        )
    last = int(spans.last[rows[-1]]) - 1
    try:
        stored = count_frames(pictures.root / name)
        pictures.read(np.array([last]))
    except DatasetError as error:
        yield finding("damaged_video", ERROR, str(error), column=camera)
        return
    if stored > ends[-1]:
        yield finding(
            "unclaimed_frames",
            WARNING,
            f"{name} has {stored} frames, and episodes claim {int(ends[-1])}",
            "Look at the table of episodes: images may be those of other frames.",
            camera,
        )
