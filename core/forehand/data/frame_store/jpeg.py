"""JPEG store: shards of pictures, smaller than pixels by an order of magnitude, and not quite exact.

A file begins with the positions at which its n pictures begin, and the end of the last, (n + 1,) little-endian uint64.
"""

from __future__ import annotations

from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from forehand.data.frame_store.shards import ShardedFrames, ShardWriter
from forehand.data.source import Pictures
from forehand.errors import ConfigurationError, DatasetError
from forehand.utils.images import Size, resize

SUBSAMPLING = "420"
"""Colours at half the resolution, as in most videos."""

AVAILABLE = find_spec("simplejpeg") is not None

_POSITION = np.dtype("<u8")


class JpegFrames(ShardedFrames):
    """All frames of ``pictures`` as JPEG pictures of ``quality`` 1 to 100; raises :class:`ConfigurationError`."""

    suffix = ".jpegs"

    def __init__(
        self, pictures: Pictures, size: Size, method: str, folder: Path, name: str, workers: int, quality: int
    ) -> None:
        if not AVAILABLE:
            raise ConfigurationError(
                "frames=jpeg needs simplejpeg, which is not installed: pip install 'forehand[jpeg]'."
            )
        super().__init__(pictures, size, method, folder, f"{name}-jpeg{quality}", workers)
        self._quality, self._mean_size = quality, 0.0

    def byte_size(self, shards: Iterable[int]) -> float:
        """See :meth:`ShardedFrames.byte_size`; estimated from a few pictures."""
        return self.frame_count(shards) * self._estimate()

    def _estimate(self) -> float:
        if not self._mean_size:
            starts = np.linspace(0, max(len(self) - 4, 0), 4).astype(np.int64)
            blocks = [self.pictures.read(np.arange(s, min(s + 4, len(self)))) for s in starts]
            shown = np.concatenate([resize(block, self._size, self._method) for block in blocks])
            self._mean_size = 1.2 * float(np.mean([len(encode(picture, self._quality)) for picture in shown]))
        return self._mean_size

    def _create(self, path: Path, first: int, count: int) -> ShardWriter:
        return _JpegWriter(path, first, count, self._quality)

    def _read_shard(self, path: Path, first: int, numbers: NDArray[np.int64], out: NDArray[np.uint8]) -> None:
        stored = self._files.bytes_of(path)
        begin = np.stack([numbers - first, numbers + 1 - first]) * _POSITION.itemsize
        # libjpeg-turbo writes to aligned memory past the caches, which takes 1.4 times as long as this copy from them.
        picture = np.empty(out[0].size + 1, np.uint8)[1:].reshape(out[0].shape)
        for where, (low, high) in enumerate(begin.T.tolist()):
            start, end = (int(stored[at : at + _POSITION.itemsize].view(_POSITION)[0]) for at in (low, high))
            _decode(stored[start:end], picture, path)
            out[where] = picture


class _JpegWriter(ShardWriter):
    def __init__(self, path: Path, first: int, count: int, quality: int) -> None:
        self._path, self._first, self._quality = path, first, quality
        self._pictures: list[bytes] = [b""] * count

    def write(self, first: int, frames: NDArray[np.uint8]) -> None:
        for number, frame in enumerate(frames, first - self._first):
            self._pictures[number] = encode(frame, self._quality)

    def finish(self) -> None:
        begin = (len(self._pictures) + 1) * _POSITION.itemsize
        positions = begin + np.cumsum([0, *map(len, self._pictures)])
        with self._path.open("wb") as file:
            file.write(positions.astype(_POSITION).tobytes())
            file.writelines(self._pictures)

    def close(self) -> None:
        self._pictures = []


def encode(picture: NDArray[np.uint8], quality: int) -> bytes:
    """The JPEG of ``picture`` (H, W, 3) RGB."""
    import simplejpeg

    data: bytes = simplejpeg.encode_jpeg(np.ascontiguousarray(picture), quality, "RGB", SUBSAMPLING, fastdct=False)
    return data


def _decode(data: NDArray[np.uint8], out: NDArray[np.uint8], path: Path) -> None:
    import simplejpeg

    try:
        simplejpeg.decode_jpeg(data, "RGB", fastdct=False, fastupsample=True, buffer=out)
    except ValueError as error:
        raise DatasetError(f"{path} is damaged ({error}). Remove it: it is made again from the recording.") from error
