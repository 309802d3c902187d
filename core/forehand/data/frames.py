"""Camera frames: all frames of a camera, decoded and resized once, in one memory-mapped file."""

from __future__ import annotations

import hashlib
import io
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray
from PIL import Image

from forehand.data.consistency import VIDEO_SPANS, irregularity, read_spans
from forehand.data.features import read_info
from forehand.data.frame_cache import FRAMES_AT_ONCE, FrameBlock, MapLayout, frames_folder, missing_frames, open_map
from forehand.data.locate import content_digest, dataset_files
from forehand.data.reading import Rows, fill_template, path_inside, table_files
from forehand.data.source import Pictures
from forehand.errors import DatasetError
from forehand.utils import video
from forehand.utils.images import Size, resize

Span = tuple[float, int, int]


def open_frames(
    root: Path, key: str, size: Size, cache: Path | None = None, method: str = "area", spans: Rows | None = None
) -> NDArray[np.uint8]:
    """All N frames of the camera ``key`` of the dataset at ``root``, (N, height, width, 3), as a read-only memory map.

    method: how they are resized (:func:`forehand.utils.images.resize`). spans: the table of episodes, where it was read
    already (:func:`forehand.data.consistency.read_spans`).

    The first call decodes the videos from beginning to end and writes the map; other processes wait for it meanwhile. An
    interrupted decoding is started over. The map's name is a hash of the camera's files and of the metadata that decoding
    depends on, independent of the dataset's folder. Raises :class:`DatasetError`.
    """
    return decode_all(recorded_pictures(root, key, spans), size, cache, method)


def decode_all(pictures: Pictures, size: Size, cache: Path | None = None, method: str = "area") -> NDArray[np.uint8]:
    """All N frames of ``pictures``, (N, height, width, 3), as a read-only memory map; see :func:`open_frames`."""
    blocks = ((where, resize(pixels, size, method)) for where, pixels in pictures.blocks())
    return open_map(
        frames_folder(cache),
        _cache_key(pictures, size, method),
        MapLayout(pictures.key, pictures.root, pictures.total, (*size, 3), np.dtype(np.uint8)),
        blocks,
        partial(pictures.former_name, size, method),
    )


@dataclass(frozen=True)
class RecordedPictures(Pictures):
    """Images of one camera of a LeRobotDataset of format 3: in videos that episodes share, or in the tables.

    videos: file → (start in seconds, first frame, one past the last frame) of every episode in it; empty where the
    pictures are in the tables.
    """

    root: Path
    key: str
    total: int
    rate: float
    videos: Mapping[Path, list[Span]]

    def blocks(self) -> Iterator[FrameBlock]:
        """See :meth:`forehand.data.source.Pictures.blocks`."""
        if not self.videos:
            return _from_tables(self.root, self.key)
        return (block for path, spans in self.videos.items() for block in _from_video(self, path, spans))

    def digest(self) -> str:
        """See :meth:`forehand.data.source.Pictures.digest`."""
        spans = {path.relative_to(self.root).as_posix(): spans for path, spans in self.videos.items()}
        about = json.dumps([self.key, self.total, self.rate, spans])
        return content_digest(self.root, self.videos or table_files(self.root, "data"), about)

    def former_name(self, size: Size, method: str) -> str:
        """See :meth:`forehand.data.source.Pictures.former_name`."""
        return _former_key(self.root, self.key, size, method)


def recorded_pictures(root: Path, key: str, spans: Rows | None = None) -> RecordedPictures:
    """The images of the feature ``key`` of the dataset at ``root``; ``spans``: as for :func:`open_frames`."""
    info = read_info(root)
    videos = (
        _video_spans(root, key, info, spans or read_spans(root, info))
        if info["features"][key]["dtype"] == "video"
        else {}
    )
    return RecordedPictures(root, key, info["total_frames"], float(info["fps"]), videos)


def _cache_key(source: Pictures, size: Size, method: str) -> str:
    return hashlib.blake2b(f"{source.digest()}\0{size}\0{method}".encode(), digest_size=16).hexdigest()


def _former_key(root: Path, key: str, size: Size, method: str) -> str:
    """The key of earlier versions, which went by the times of all files."""
    digest = hashlib.blake2b(f"{root.resolve()}\0{key}\0{size}\0{method}".encode(), digest_size=16)
    for path in dataset_files(root):
        status = path.stat()
        digest.update(f"{path.relative_to(root)}\0{status.st_size}\0{status.st_mtime_ns}\0".encode())
    return digest.hexdigest()


def _from_video(source: RecordedPictures, path: Path, spans: list[Span]) -> Iterator[FrameBlock]:
    # Several episodes share a file: frame number in the file → frame of the dataset.
    destination = {
        round(start * source.rate) + offset: first + offset
        for start, first, last in spans
        for offset in range(last - first)
    }
    if len(destination) < sum(last - first for _, first, last in spans):
        raise DatasetError(
            f"Two episodes claim the same frames of {path}: the column from_timestamp in meta/episodes is wrong. Fetch "
            f"or copy the dataset again, whole."
        )
    times: list[float] = []
    distances: dict[int, float] = {}
    where: list[int] = []
    pixels: list[NDArray[np.uint8]] = []
    for time, frame in video.decode(path):
        times.append(time)
        place = round(time * source.rate)
        distance = abs(time * source.rate - place)
        if place not in destination or distance >= distances.get(place, 1):
            continue
        distances[place] = distance
        where.append(destination[place])
        pixels.append(frame)
        if len(where) == FRAMES_AT_ONCE:
            yield np.array(where), np.stack(pixels)
            where, pixels = [], []
    if where:
        yield np.array(where), np.stack(pixels)
    if lacking := len(destination) - len(distances):
        raise _short_video_error(source, path, np.array(times), max(destination) + 1, lacking)


def _short_video_error(
    source: RecordedPictures, path: Path, times: NDArray[np.float64], expected: int, lacking: int
) -> DatasetError:
    """Why a video does not have the frames that it should."""
    name = path.relative_to(source.root)
    if found := irregularity(times, source.rate):
        frame, how = found
        return DatasetError(
            f"The timestamps of {name} in the dataset at {source.root} are not those of {source.rate:g} frames a second: "
            f"at its frame {frame} (counted from 0), {how}. {lacking} frames have no time; fetching it again does not "
            f"help. Encode it again at an even rate, correct the fps of meta/info.json, or leave its episodes out "
            f"(lerobot-edit-dataset)."
        )
    why = f"{name} ends after {len(times)} frames, and {expected} are due"
    return missing_frames(source.root, source.key, source.total, lacking, why)


def _video_spans(root: Path, key: str, info: dict[str, Any], spans: Rows) -> dict[Path, list[Span]]:
    """Video file → (start in seconds, first frame, one past the last frame) of every episode in it."""
    chunk, file, start = (f"videos/{key}/{name}" for name in VIDEO_SPANS)
    columns = [chunk, file, start, "dataset_from_index", "dataset_to_index"]
    found: dict[Path, list[Span]] = {}
    for table, rows in spans.records(columns):
        for number, row in enumerate(rows):
            if wrong := [name for name, value in row.items() if value is None or not 0 <= value < math.inf]:
                raise DatasetError(f"{wrong[0]} in row {number} of {table} is {row[wrong[0]]!r} (counted from 0).")
            name = fill_template(str(info.get("video_path")), video_key=key, chunk_index=row[chunk], file_index=row[file])
            path = path_inside(root, name)
            if not path.is_file():
                raise DatasetError(f"The dataset at {root} lacks {name}. Fetch or copy it again, whole.")
            found.setdefault(path, []).append((row[start], row["dataset_from_index"], row["dataset_to_index"]))
    return found


def _from_tables(root: Path, key: str) -> Iterator[FrameBlock]:
    first = 0
    for path in table_files(root, "data"):
        for batch in pq.ParquetFile(path).iter_batches(FRAMES_AT_ONCE, columns=[key]):
            pixels = [
                _decode_image(row[key], key, f"row {first + i} of {root}") for i, row in enumerate(batch.to_pylist())
            ]
            yield np.arange(first, first + len(pixels)), np.stack(pixels)
            first += len(pixels)


def _decode_image(stored: Any, key: str, where: str) -> NDArray[np.uint8]:
    try:
        return np.asarray(Image.open(io.BytesIO(stored["bytes"])).convert("RGB"))
    except (TypeError, KeyError, OSError, ValueError, Image.DecompressionBombError) as error:
        raise DatasetError(
            f"The picture of {key!r} in {where} cannot be read ({error}). Fetch or copy the dataset again, whole."
        ) from error
