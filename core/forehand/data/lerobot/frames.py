"""Camera frames of a LeRobotDataset: where they are recorded, and all of them, decoded and resized."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from forehand.data.features import read_info
from forehand.data.frame_store.open_store import FrameRequest, open_frame_store
from forehand.data.lerobot.consistency import read_spans
from forehand.data.lerobot.formats import open_layout
from forehand.data.lerobot.layout import VIDEO_SPANS
from forehand.data.lerobot.locate import dataset_files
from forehand.data.lerobot.table_pictures import TablePictures
from forehand.data.lerobot.video_pictures import VideoPictures, VideoSpans
from forehand.data.reading import Rows, fill_template, path_inside
from forehand.data.source import FrameReader
from forehand.errors import DatasetError
from forehand.utils.images import Size


def open_frames(
    root: Path, key: str, size: Size, cache: Path | None = None, method: str = "area", spans: Rows | None = None
) -> FrameReader:
    """All N frames of the camera ``key`` of the dataset at ``root``, (N, height, width, 3) uint8, from the raw store.

    method: how they are resized (:func:`forehand.utils.images.resize`). spans: the table of episodes, where it was read
    already (:func:`forehand.data.lerobot.consistency.read_spans`). The first call decodes the videos
    (:func:`forehand.data.frame_store.open_store.open_frame_store`). Raises :class:`DatasetError`.
    """
    request = FrameRequest(recorded_pictures(root, key, spans), size, method)
    return open_frame_store([request], cache=cache).readers[0]


class RecordedVideos(VideoPictures):
    """Images of one camera of a LeRobotDataset in videos."""

    def former_name(self, size: Size, method: str) -> str:
        """See :meth:`forehand.data.source.Pictures.former_name`."""
        return _former_key(self.root, self.key, size, method)


class RecordedImages(TablePictures):
    """Images of one camera of a LeRobotDataset in the tables."""

    def former_name(self, size: Size, method: str) -> str:
        """See :meth:`forehand.data.source.Pictures.former_name`."""
        return _former_key(self.root, self.key, size, method)


def recorded_pictures(root: Path, key: str, spans: Rows | None = None) -> RecordedVideos | RecordedImages:
    """The images of the feature ``key`` of the dataset at ``root``; ``spans``: as for :func:`open_frames`."""
    info = read_info(root)
    total, rate = info["total_frames"], float(info["fps"])
    if info["features"][key]["dtype"] != "video":
        return RecordedImages(root, key, total, rate)
    return RecordedVideos(root, key, total, rate, _video_spans(root, key, info, spans or read_spans(root, info)))


def _video_spans(root: Path, key: str, info: Mapping[str, Any], spans: Rows) -> VideoSpans:
    columns = [f"videos/{key}/{name}" for name in VIDEO_SPANS] + ["dataset_from_index", "dataset_to_index"]
    chunk, file, start, first, last = (_positions(spans, column) for column in columns)
    pairs, episode_file = np.unique(np.stack([chunk, file]), axis=1, return_inverse=True)
    names, template = [], open_layout(root, info).video_template
    for chunk_index, file_index in pairs.T.astype(int).tolist():
        name = fill_template(template, video_key=key, chunk_index=chunk_index, file_index=file_index)
        if not path_inside(root, name).is_file():
            raise DatasetError(f"The dataset at {root} lacks {name}. Fetch or copy it again, whole.")
        names.append(name)
    return VideoSpans(names, episode_file, start, first.astype(np.int64), last.astype(np.int64))


def _positions(spans: Rows, column: str) -> NDArray[Any]:
    """A column of numbers that are not negative, (E,)."""
    if column not in spans.columns:
        raise DatasetError(
            f"The tables in meta/episodes of {spans.root} lack the column {column!r}. Fetch or copy the dataset again, "
            f"whole."
        )
    values = spans.array(column)[:, 0]
    if len(wrong := np.flatnonzero(~((values >= 0) & (values < math.inf)))):
        row = int(wrong[0])
        raise DatasetError(f"{column} in {spans.describe_rows(row)} is {values[row]!r} (counted from 0).")
    return values


def _former_key(root: Path, key: str, size: Size, method: str) -> str:
    """The key of earlier versions, which went by the times of all files."""
    digest = hashlib.blake2b(f"{root.resolve()}\0{key}\0{size}\0{method}".encode(), digest_size=16)
    for path in dataset_files(root):
        status = path.stat()
        digest.update(f"{path.relative_to(root)}\0{status.st_size}\0{status.st_mtime_ns}\0".encode())
    return digest.hexdigest()
