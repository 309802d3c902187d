"""Frame reader whose threads read or decode many frames together."""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from forehand.data.frame_store.buffers import empty
from forehand.data.frame_store.threads import run_all
from forehand.data.source import Pictures
from forehand.utils.images import Size

_FAR = 16  # frames that are further apart are read apart
_PIECE = 64  # frames that one thread reads at once


class StoredFrames(ABC):
    """All N frames of a camera, (N, height, width, 3) uint8, at random: ``frames[numbers]``, as for an array.

    pictures: where they are recorded. name: that of the pixels, the same wherever they are the same to the bit. workers:
    threads that read.
    """

    dtype: np.dtype[Any] = np.dtype(np.uint8)

    def __init__(self, pictures: Pictures, size: Size, name: str, workers: int) -> None:
        self.pictures, self.name, self.workers = pictures, name, workers
        self.shape = (pictures.total, *size, 3)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, numbers: Any) -> NDArray[np.uint8]:
        """The frames ``numbers``, a whole number, an array of them (…), or a slice: (…, height, width, 3)."""
        if isinstance(numbers, slice):
            numbers = np.arange(len(self))[numbers]
        wanted = np.asarray(numbers, np.int64)
        flat = np.where(wanted < 0, wanted + len(self), wanted).ravel()
        if len(flat) and not 0 <= flat.min() <= flat.max() < len(self):
            raise IndexError(f"there are {len(self)} frames of {self.pictures.key!r}; {numbers} are not among them")
        out = empty((len(flat), *self.shape[1:]))
        self.prepare(flat)
        self._fill(flat, out)
        return out.reshape(*wanted.shape, *self.shape[1:])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        """All frames, in memory."""
        return self[:].astype(dtype or np.uint8, copy=False)

    def prepare(self, numbers: NDArray[np.int64] | None = None) -> None:  # noqa: B027  (some stores keep nothing)
        """Decode what is not stored yet of the frames ``numbers`` (n,), None: all; raises :class:`DatasetError`."""

    def _fill(self, numbers: NDArray[np.int64], out: NDArray[np.uint8]) -> None:
        """Put the frames ``numbers`` (n,), in any order, into ``out`` (n, height, width, 3); each is decoded once."""
        order = np.argsort(numbers, kind="stable")
        ascending = numbers[order]

        def read(piece: slice) -> None:
            distinct, back = np.unique(ascending[piece], return_inverse=True)
            where = order[piece]
            if len(distinct) == len(where) and (np.diff(where) == 1).all():
                self._read(distinct, out[where[0] : where[-1] + 1])
                return
            pixels = np.empty((len(distinct), *self.shape[1:]), np.uint8)
            self._read(distinct, pixels)
            out[where] = pixels[back]

        run_all(read, _pieces(ascending), self.workers)

    @abstractmethod
    def _read(self, numbers: NDArray[np.int64], out: NDArray[np.uint8]) -> None:
        """Put the frames ``numbers`` (n,), which ascend, into ``out`` (n, height, width, 3), contiguous."""


def _pieces(ascending: NDArray[np.int64]) -> list[slice]:
    """What is read at once: frames that are close to each other."""
    bounds = [0, *(np.flatnonzero(np.diff(ascending) > _FAR) + 1).tolist(), len(ascending)]
    return [
        slice(first, min(first + _PIECE, last))
        for begin, last in itertools.pairwise(bounds)
        for first in range(begin, last, _PIECE)
    ]
