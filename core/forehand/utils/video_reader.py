"""Random access to video frames: seeks to the key frame before, and decodes forward. Through PyAV."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray

from forehand.errors import DatasetError

OPEN_VIDEOS = 64
"""Idle decoders that a process keeps open; each holds a few pictures, and the file's table of contents."""

_ON_TIME = 0.02  # of a frame's duration: no other frame is nearer
_LONGEST_STEP = 12  # frames that are decoded on the way rather than sought, before key frames were seen


def damaged(path: Path, reason: str | None) -> DatasetError:
    """The error about a video that cannot be decoded."""
    return DatasetError(
        f"{path} cannot be decoded: {reason}. It is damaged or was copied in part: fetch or copy it again, whole."
    )


class VideoReader:
    """Frames of one video by their place, which is their time multiplied by ``rate`` (Hz), rounded.

    Not for several threads at once: see :class:`VideoReaders`. reached: the last place of which frames were taken.
    """

    def __init__(self, path: Path, rate: float) -> None:
        self.path, self.rate = path, rate
        try:
            self._container = av.open(str(path))
            if not self._container.streams.video:
                raise DatasetError(f"{path} holds no video. Fetch or copy it again, whole.")
            self._stream = self._container.streams.video[0]
            self._stream.codec_context.thread_count = 1  # videos, not slices of small pictures, are what runs in parallel
        except av.FFmpegError as error:
            raise damaged(path, error.strerror) from error
        self._to_rgb = VideoReformatter()
        self._frames: Iterator[tuple[float, Any]] = self._decode()
        self._next: tuple[float, Any] | None = None  # decoded, and not yet asked for
        self.reached = -1
        self._key_frame: float | None = None
        self._step = float(_LONGEST_STEP)  # from key frame to key frame

    def close(self) -> None:
        """Close the file, and free the decoder at once: its generator and this reader hold each other."""
        self._next, self._frames = None, iter(())
        self._container.close()

    def read(self, places: Sequence[int], out: NDArray[np.uint8] | None = None) -> tuple[NDArray[np.uint8], list[int]]:
        """The frames nearest to ``places``, which ascend, (n, H, W, 3) RGB, and the places that have none.

        Of several frames of one place the nearest counts, of equally near ones the first. out: where they are put.
        Raises :class:`DatasetError` where the video cannot be decoded.
        """
        lacking: list[int] = []
        try:
            for i, place in enumerate(places):
                frame = self._find(place)
                if frame is None:
                    lacking.append(place)
                    continue
                if out is None:
                    out = np.zeros((len(places), frame.height, frame.width, 3), np.uint8)
                self._copy(frame, out[i])
        except av.FFmpegError as error:
            raise damaged(self.path, error.strerror) from error
        return np.zeros((len(places), 0, 0, 3), np.uint8) if out is None else out, lacking

    def _find(self, place: int) -> Any:
        """The frame of ``place``, or None."""
        self._go_to(place)
        best, distance = None, 0.5
        while (upcoming := self._peek()) is not None and round(upcoming[0]) <= place:
            self._next, self.reached = None, round(upcoming[0])
            if self.reached == place and (best is None or abs(upcoming[0] - place) < distance):
                best, distance = upcoming[1], abs(upcoming[0] - place)
                if distance <= _ON_TIME:
                    break
        return best

    def _peek(self) -> tuple[float, Any] | None:
        """The next frame with its place before rounding, None at the end."""
        if self._next is None:
            self._next = next(self._frames, None)
        return self._next

    def _go_to(self, place: int) -> None:
        """Stand before the frame of ``place``, or at a key frame that precedes it."""
        if 0 < place - self.reached <= self._step:
            return
        back = 0.0
        while True:
            target = max(place - back, 0.0)
            self._seek(target)
            upcoming = self._peek()
            if target == 0 or (upcoming is not None and round(upcoming[0]) < place):
                return
            if upcoming is not None and abs(upcoming[0] - place) <= _ON_TIME:
                return
            back = 2 * back + 1

    def _seek(self, target: float) -> None:
        base = self._stream.time_base
        assert base is not None
        offset = round((target + 0.1) / self.rate / base) if target else (self._stream.start_time or 0)
        self._container.seek(offset, stream=self._stream)
        self._frames, self._next, self.reached, self._key_frame = self._decode(), None, -1, None

    def _decode(self) -> Iterator[tuple[float, Any]]:
        for frame in self._container.decode(self._stream):
            if frame.time is None:
                raise DatasetError(f"{self.path} has a frame without a timestamp. Encode it again.")
            place = frame.time * self.rate
            if frame.key_frame:
                if self._key_frame is not None:
                    self._step = max(place - self._key_frame, 1.0)
                self._key_frame = place
            yield place, frame

    def _copy(self, frame: Any, out: NDArray[np.uint8]) -> None:
        plane = self._to_rgb.reformat(frame, format="rgb24").planes[0]
        rows = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)[: frame.height, : 3 * frame.width]
        out[...] = rows.reshape(frame.height, frame.width, 3)


_Key = tuple[Path, float, tuple[int, ...]]


def _identity(path: Path) -> tuple[int, ...]:
    """What changes where a file is replaced."""
    try:
        status = path.stat()
    except OSError as error:
        raise damaged(path, error.strerror) from error
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


class VideoReaders:
    """Open videos that several threads share: each takes one for itself, and the least recently used are closed."""

    def __init__(self, most: int = OPEN_VIDEOS) -> None:
        self._most = most
        self._idle: OrderedDict[_Key, list[VideoReader]] = OrderedDict()
        self._count, self._lock = 0, threading.Lock()

    @contextmanager
    def open(self, path: Path, rate: float, place: int = 0) -> Iterator[VideoReader]:
        """The video at ``path``, opened already, best shortly before ``place``, or anew; after an error it is closed."""
        key = (path, rate, _identity(path))
        reader = self._take(key, place) or VideoReader(path, rate)
        try:
            yield reader
        except BaseException:
            reader.close()
            raise
        self._give_back(key, reader)

    def _take(self, key: _Key, place: int) -> VideoReader | None:
        with self._lock:
            idle = self._idle.get(key)
            if not idle:
                return None
            self._count -= 1
            reader = max(idle, key=lambda one: one.reached if one.reached < place else -1)
            idle.remove(reader)
            if not idle:
                del self._idle[key]
            return reader

    def _give_back(self, key: _Key, reader: VideoReader) -> None:
        stale = []
        with self._lock:
            self._idle.setdefault(key, []).append(reader)
            self._idle.move_to_end(key)
            self._count += 1
            while self._count > self._most:
                oldest, idle = next(iter(self._idle.items()))
                stale.append(idle.pop(0))
                self._count -= 1
                if not idle:
                    del self._idle[oldest]
        for closed in stale:
            closed.close()

    def forget(self) -> None:
        """Begin anew in a forked process, which shares the positions in files that its parent opened."""
        self.__init__(self._most)  # type: ignore[misc]


READERS = VideoReaders()
"""Those of this process."""

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=READERS.forget)
