"""Raw store: shards of pixels, exact."""

from __future__ import annotations

import itertools
import os
from contextlib import suppress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from forehand.data.frame_cache import reserve_space
from forehand.data.frame_store.shards import ShardedFrames, ShardWriter
from forehand.data.frame_store.threads import run_all
from forehand.data.source import Pictures
from forehand.utils.images import Size
from forehand.utils.in_use import hold


class RawFrames(ShardedFrames):
    """All frames of ``pictures`` as pixels, in NumPy files; the one file of earlier versions is read as well."""

    suffix = ".npy"

    def __init__(self, pictures: Pictures, size: Size, method: str, folder: Path, name: str, workers: int) -> None:
        super().__init__(pictures, size, method, folder, name, workers)
        self._length = int(np.prod(self.shape[1:]))
        self._whole = self._find_whole(folder, size, method)
        if self._whole is not None:
            hold(self._whole)
            self._ready = set(self._all_shards())

    def _find_whole(self, folder: Path, size: Size, method: str) -> Path | None:
        """The one file of all frames, if there is one."""
        path = folder / f"{self.name}.npy"
        if not path.exists() and not self.folder.exists() and (former := self.pictures.former_name(size, method)):
            with suppress(FileNotFoundError):
                (folder / f"{former}.npy").rename(path)
        return path if path.exists() else None

    def _create(self, path: Path, first: int, count: int) -> ShardWriter:
        return _RawWriter(path, first, (count, *self.shape[1:]))

    def _fill(self, numbers: NDArray[np.int64], out: NDArray[np.uint8]) -> None:
        """Put the frames ``numbers`` (n,) into ``out``; what follows each other is copied at once."""
        ends = (np.diff(numbers) != 1) | (np.diff(numbers // self.per_shard) != 0)
        bounds = [0, *(np.flatnonzero(ends) + 1).tolist(), len(numbers)]
        runs = list(itertools.pairwise(bounds)) if len(numbers) else []

        def copy(some: slice) -> None:
            for begin, end in runs[some]:
                self._read(numbers[begin:end], out[begin:end])

        step = max(-(-len(runs) // (4 * self.workers)), 1)
        run_all(copy, [slice(first, first + step) for first in range(0, len(runs), step)], self.workers)

    def _read_shard(self, path: Path, first: int, numbers: NDArray[np.int64], out: NDArray[np.uint8]) -> None:
        count = self.per_shard
        if self._whole is not None:
            path, first, count = self._whole, 0, len(self)
        stored, count = self._files.bytes_of(path), min(count, len(self) - first)
        pixels = stored[len(stored) - count * self._length :].reshape(count, *self.shape[1:])
        out[...] = pixels[numbers[0] - first : numbers[-1] + 1 - first]


class _RawWriter(ShardWriter):
    def __init__(self, path: Path, first: int, shape: tuple[int, ...]) -> None:
        self._first, self._length = first, int(np.prod(shape[1:]))
        self._file = path.open("wb")
        header = {"descr": np.lib.format.dtype_to_descr(np.dtype(np.uint8)), "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(self._file, header)
        self._file.flush()
        self._begin = self._file.tell()
        reserve_space(self._file, self._begin + shape[0] * self._length)

    def write(self, first: int, frames: NDArray[np.uint8]) -> None:
        rest = memoryview(np.ascontiguousarray(frames).reshape(-1))
        position = self._begin + (first - self._first) * self._length
        while len(rest):
            count = os.pwrite(self._file.fileno(), rest, position)
            rest, position = rest[count:], position + count

    def finish(self) -> None:
        self._file.close()

    close = finish
