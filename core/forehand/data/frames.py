"""Decoding done once: all frames of a camera, resized, in one memory-mapped file that every later run shares."""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from filelock import FileLock
from numpy.typing import NDArray
from PIL import Image
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from forehand.data import video
from forehand.data.features import read_info
from forehand.data.images import Size, resize
from forehand.data.locate import dataset_files
from forehand.errors import DatasetError

CACHE_VARIABLE = "FOREHAND_CACHE"

_FRAMES_AT_ONCE = 256

Block = tuple[NDArray[np.int64], NDArray[np.uint8]]


def cache_folder() -> Path:
    """Where decoded frames are kept: ``$FOREHAND_CACHE``, or ``~/.cache/forehand``."""
    return Path(os.environ.get(CACHE_VARIABLE) or Path.home() / ".cache" / "forehand").expanduser()


def open_frames(root: Path, key: str, size: Size, cache: Path | None = None, method: str = "area") -> NDArray[np.uint8]:
    """All N frames of the camera ``key`` of the dataset at ``root``, (N, height, width, 3), as a read-only memory map.

    method: how they are resized (:func:`forehand.data.images.resize`).

    The first call decodes the videos from beginning to end and writes the map; processes that come meanwhile wait for it.
    A decoding that was interrupted is started over. The map is found again as long as no file of the dataset changes.
    """
    folder = (cache or cache_folder()) / "frames"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{_cache_key(root, key, size, method)}.npy"
    if not path.exists():
        with FileLock(path.with_suffix(".lock")):
            if not path.exists():
                _decode_into(path, root, key, size, method)
    frames: NDArray[np.uint8] = np.load(path, mmap_mode="r")
    return frames


def _cache_key(root: Path, key: str, size: Size, method: str) -> str:
    digest = hashlib.blake2b(f"{root.resolve()}\0{key}\0{size}\0{method}".encode(), digest_size=16)
    for path in dataset_files(root):
        status = path.stat()
        digest.update(f"{path.relative_to(root)}\0{status.st_size}\0{status.st_mtime_ns}\0".encode())
    return digest.hexdigest()


def _decode_into(path: Path, root: Path, key: str, size: Size, method: str) -> None:
    info = read_info(root)
    total = int(info["total_frames"])
    source = _from_videos if info["features"][key]["dtype"] == "video" else _from_tables
    partial = path.with_suffix(".partial")
    frames = np.lib.format.open_memmap(partial, mode="w+", dtype=np.uint8, shape=(total, *size, 3))
    done = np.zeros(total, bool)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, transient=True) as progress:
        task = progress.add_task(f"decoding {key}", total=total)
        for where, pixels in source(root, key, info):
            frames[where] = resize(pixels, size, method)
            done[where] = True
            progress.update(task, advance=len(where))
    if not done.all():
        missing = np.flatnonzero(~done)
        raise DatasetError(
            f"{len(missing)} of {total} frames of {key!r} are missing from the videos of {root} (the first is frame "
            f"{missing[0]}). Fetch or copy the dataset again, whole."
        )
    frames.flush()
    os.replace(partial, path)


def _from_videos(root: Path, key: str, info: dict[str, Any]) -> Iterator[Block]:
    rate = float(info["fps"])
    for path, spans in _videos(root, key, info).items():
        # Several episodes share a file: frame number in the file → frame of the dataset.
        destination = {
            round(start * rate) + offset: first + offset for start, first, last in spans for offset in range(last - first)
        }
        where: list[int] = []
        pixels: list[NDArray[np.uint8]] = []
        for time, frame in video.decode(path):
            index = destination.get(round(time * rate))
            if index is None:
                continue
            where.append(index)
            pixels.append(frame)
            if len(where) == _FRAMES_AT_ONCE:
                yield np.array(where), np.stack(pixels)
                where, pixels = [], []
        if where:
            yield np.array(where), np.stack(pixels)


def _videos(root: Path, key: str, info: dict[str, Any]) -> dict[Path, list[tuple[float, int, int]]]:
    """Video file → (start in seconds, first frame, one past the last frame) of every episode in it."""
    chunk, file, start = (f"videos/{key}/{name}" for name in ("chunk_index", "file_index", "from_timestamp"))
    columns = [chunk, file, start, "dataset_from_index", "dataset_to_index"]
    found: dict[Path, list[tuple[float, int, int]]] = {}
    for table in sorted((root / "meta" / "episodes").rglob("*.parquet")):
        for row in pq.read_table(table, columns=columns).to_pylist():
            name = info["video_path"].format(video_key=key, chunk_index=row[chunk], file_index=row[file])
            if not (root / name).is_file():
                raise DatasetError(f"The dataset at {root} lacks {name}. Fetch or copy it again, whole.")
            spans = found.setdefault(root / name, [])
            spans.append((row[start], row["dataset_from_index"], row["dataset_to_index"]))
    return found


def _from_tables(root: Path, key: str, info: dict[str, Any]) -> Iterator[Block]:
    first = 0
    for path in sorted((root / "data").rglob("*.parquet")):
        for batch in pq.ParquetFile(path).iter_batches(_FRAMES_AT_ONCE, columns=[key]):
            pictures = [Image.open(io.BytesIO(row[key]["bytes"])).convert("RGB") for row in batch.to_pylist()]
            yield np.arange(first, first + len(pictures)), np.stack([np.asarray(p) for p in pictures])
            first += len(pictures)
