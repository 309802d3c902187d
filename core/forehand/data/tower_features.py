"""Feature cache: what a frozen vision tower makes of the frames of a camera that are used, in one memory-mapped file."""

from __future__ import annotations

import hashlib
import io
import math
import os
from pathlib import Path

import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import NDArray

from forehand.data.frame_cache import DISK_FULL, FRAMES_AT_ONCE, MapLayout, frames_folder, no_room
from forehand.data.frozen_features import Array, FrozenFeatures
from forehand.data.source import FrameReader, Pictures
from forehand.utils.in_use import hold
from forehand.utils.progress import progress


def open_features(
    pictures: Pictures,
    frames: FrameReader,
    features: FrozenFeatures,
    cache: Path | None = None,
    numbers: NDArray[np.int64] | None = None,
    *,
    wait: bool = True,
) -> Array | None:
    """Features of the ``frames`` (N, H, W, 3) of ``pictures``, (N, *shape) float16, of those ``numbers`` that are used.

    numbers: increasing; None: all. Features of other frames are undefined. What is missing is computed first; afterwards
    it is a read-only memory map, which any process shares that asks for the same frames and the same weights. An
    interrupted computation is continued. wait: for another process that computes some of them; if not, None is returned
    where one does. Raises :class:`DatasetError`.
    """
    folder = frames_folder(cache)
    pixels = getattr(frames, "name", None) or f"{pictures.digest()} {frames.shape}"
    about = f"features\0{features.digest}\0{pixels}"
    whole = folder / f"{_name(about)}.npy"  # of earlier versions: of all frames, and without marks
    if whole.exists():
        hold(whole)
        return _mapped(whole)
    layout = MapLayout(f"{pictures.key} (features)", pictures.root, len(frames), features.shape, np.dtype(np.float16))
    kept = FeatureFile(folder / f"{_name(f'{about}\0rows')}.npy", layout)
    there = kept.fill(np.arange(len(frames)) if numbers is None else numbers, frames, features, wait=wait)
    return _mapped(kept.path) if there else None


class FeatureFile:
    """The memory map at ``path``, and behind its rows a byte for each, which is 1 once the row is written.

    Rows that were never written take no room where the file system has sparse files.
    """

    def __init__(self, path: Path, layout: MapLayout) -> None:
        self.path, self._layout = path, layout
        self._row = math.prod(layout.shape) * layout.dtype.itemsize
        header, shape = io.BytesIO(), (layout.total, *layout.shape)
        about = {"descr": np.lib.format.dtype_to_descr(layout.dtype), "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(header, about)
        self._header = header.getvalue()
        self._marks = len(self._header) + layout.total * self._row

    def fill(
        self, numbers: NDArray[np.int64], frames: FrameReader, features: FrozenFeatures, *, wait: bool = True
    ) -> bool:
        """Compute and write the rows ``numbers`` that are not there, one process at a time.

        Returns whether they are there: not to ``wait`` for another process may leave them to it.
        """
        try:
            with FileLock(self.path.with_suffix(".lock"), blocking=wait):
                self._fill(numbers, frames, features)
        except Timeout:
            return False
        return True

    def _fill(self, numbers: NDArray[np.int64], frames: FrameReader, features: FrozenFeatures) -> None:
        if not self.path.exists() or self.path.stat().st_size != self._marks + self._layout.total:
            self._create()  # for the first time, or since it was cut
        hold(self.path)
        missing = self._missing(numbers)
        try:
            self._write(missing, frames, features)
        except OSError as error:
            if error.errno not in DISK_FULL:
                raise
            raise no_room(self._layout.key, len(missing) * self._row, self.path.parent, error.strerror) from error

    def _missing(self, numbers: NDArray[np.int64]) -> NDArray[np.int64]:
        written = np.fromfile(self.path, np.uint8, offset=self._marks)
        return numbers[written[numbers] == 0]

    def _create(self) -> None:
        partial = self.path.with_suffix(".partial")
        with partial.open("wb") as file:
            file.write(self._header)
            file.truncate(self._marks + self._layout.total)
        os.replace(partial, self.path)

    def _write(self, numbers: NDArray[np.int64], frames: FrameReader, features: FrozenFeatures) -> None:
        with (
            self.path.open("r+b") as file,
            progress(f"computing {self._layout.key}", len(numbers), transient=True) as show,
        ):
            for start in range(0, len(numbers), FRAMES_AT_ONCE):
                some = numbers[start : start + FRAMES_AT_ONCE]
                for number, row in zip(some, features.encode(frames[some]).astype(self._layout.dtype), strict=True):
                    file.seek(len(self._header) + int(number) * self._row)
                    file.write(row.tobytes())
                file.flush()
                os.fsync(file.fileno())  # before the marks, which say that the rows are there
                for number in some:
                    file.seek(self._marks + int(number))
                    file.write(b"\1")
                show(start + len(some))


def _name(about: str) -> str:
    return hashlib.blake2b(about.encode(), digest_size=16).hexdigest()


def _mapped(path: Path) -> Array:
    found: Array = np.load(path, mmap_mode="r")
    return found
