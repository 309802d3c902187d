"""Sharded frames: files of 4096 frames, each decoded by one process when it is needed for the first time."""

from __future__ import annotations

import logging
import os
import threading
from abc import abstractmethod
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import NDArray

from forehand.data.frame_cache import DISK_FULL, no_room, remove_partial
from forehand.data.frame_store.checksums import is_whole, write_checksum
from forehand.data.frame_store.mapped_files import MappedFiles
from forehand.data.frame_store.stored_frames import StoredFrames
from forehand.data.frame_store.threads import run_all
from forehand.data.source import Pictures
from forehand.errors import DatasetError
from forehand.utils.images import Size, resize
from forehand.utils.in_use import hold
from forehand.utils.progress import Show, progress

log = logging.getLogger(__name__)

USED = "used"
"""File in the folder of shards that processes hold while they read them; its time is that of the last use."""


_LEAST = 64  # frames that a thread decodes in a row


class ShardedFrames(StoredFrames):
    """All frames of ``pictures`` in files below ``folder / name``; what is missing there is decoded first.

    A shard is a file that is put into place when it is whole. Several processes and computers may share the folder: each
    shard is decoded by one of them, under a lock, and what a killed one left is removed by the next. One that is not what
    was written (:mod:`forehand.data.frame_store.checksums`) is decoded again.
    """

    per_shard = 4096
    """Frames of a shard."""

    suffix: str
    """Of the files' names."""

    def __init__(self, pictures: Pictures, size: Size, method: str, folder: Path, name: str, workers: int) -> None:
        super().__init__(pictures, size, name, workers)
        self._size, self._method, self.folder = size, method, folder / name
        self._ready: set[int] = set()
        self._paths: dict[int, Path] = {}
        self._files = MappedFiles()

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "_files"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state, _files=MappedFiles())

    def missing(self, numbers: NDArray[np.int64] | None = None) -> list[int]:
        """Shards of the frames ``numbers`` (n,), default all, that are not stored yet."""
        if numbers is None:
            wanted: Iterable[int] = self._all_shards()
        else:
            wanted = np.flatnonzero(np.bincount(numbers // self.per_shard)).tolist() if len(numbers) else []
        unknown = [shard for shard in wanted if shard not in self._ready]
        if not unknown:
            return []
        there = set(os.listdir(self.folder)) if self.folder.is_dir() else set()
        return [shard for shard in unknown if self.path(shard).name not in there or not self._stored(shard)]

    def _stored(self, shard: int) -> bool:
        """Whether a shard is there, as it was written."""
        try:
            whole = is_whole(self.path(shard))
        except FileNotFoundError:
            return False
        if whole:
            self._ready.add(shard)
        return whole

    def frame_count(self, shards: Iterable[int]) -> int:
        """Frames in ``shards``."""
        return sum(last - first for first, last in map(self.span, shards))

    def byte_size(self, shards: Iterable[int]) -> float:
        """Bytes that ``shards`` take, or are going to take."""
        return self.frame_count(shards) * float(np.prod(self.shape[1:]))

    def prepare(self, numbers: NDArray[np.int64] | None = None) -> None:
        """Decode the shards of the frames ``numbers`` (n,), default all, that are not stored yet."""
        wanted = set(self._all_shards() if numbers is None else np.unique(numbers // self.per_shard).tolist())
        if wanted <= self._ready:
            return
        self.hold()
        if missing := self.missing(numbers):
            self._decode(missing)
        self._ready |= wanted

    def hold(self) -> None:
        """Keep other processes from removing what is stored."""
        self.folder.mkdir(parents=True, exist_ok=True)
        hold(self.folder / USED)

    def path(self, shard: int) -> Path:
        """The file of ``shard``, named by its first frame and the one past its last."""
        if shard not in self._paths:
            first, last = self.span(shard)
            self._paths[shard] = self.folder / f"{first:010d}-{last:010d}{self.suffix}"
        return self._paths[shard]

    def span(self, shard: int) -> tuple[int, int]:
        """The first frame of ``shard``, and the one past its last."""
        return shard * self.per_shard, min((shard + 1) * self.per_shard, len(self))

    def _all_shards(self) -> range:
        return range(-(-len(self) // self.per_shard))

    @abstractmethod
    def _create(self, path: Path, first: int, count: int) -> ShardWriter:
        """A writer of ``count`` frames from ``first`` on to ``path``."""

    @abstractmethod
    def _read_shard(self, path: Path, first: int, numbers: NDArray[np.int64], out: NDArray[np.uint8]) -> None:
        """Put the frames ``numbers`` of the shard at ``path``, which begins with ``first``, into ``out``."""

    def _read(self, numbers: NDArray[np.int64], out: NDArray[np.uint8]) -> None:
        for shard in range(int(numbers[0]) // self.per_shard, int(numbers[-1]) // self.per_shard + 1):
            here = slice(*np.searchsorted(numbers, self.span(shard)).tolist())
            if here.start < here.stop:
                try:
                    self._read_shard(self.path(shard), shard * self.per_shard, numbers[here], out[here])
                except FileNotFoundError as error:
                    raise DatasetError(
                        f"Decoded frames of {self.pictures.key!r} were removed while they are used: "
                        f"{error.filename}. Run the same command again: they are decoded anew."
                    ) from error

    def _decode(self, missing: list[int]) -> None:
        remove_partial(self.folder)
        total = self.frame_count(missing)
        with progress(f"decoding {self.pictures.key}", total, transient=True) as show:
            done, wait = 0, False
            while missing:
                busy = []
                for shard in missing:
                    with self._locked(self.path(shard), wait=wait) as mine:
                        if not mine:
                            busy.append(shard)
                            continue
                        if not self._stored(shard):
                            if self.path(shard).exists():
                                log.warning("%s is damaged: its frames are decoded again", self.path(shard))
                            self._decode_shard(shard, show, done)
                        done += self.frame_count([shard])
                        show(done)
                        wait = False
                # What is left is decoded by other processes: wait for the first of these, in case one was killed.
                missing, wait = busy, True

    @contextmanager
    def _locked(self, path: Path, wait: bool) -> Iterator[bool]:
        lock = FileLock(path.with_suffix(".lock"))
        try:
            lock.acquire(timeout=-1 if wait else 0)
        except Timeout:
            yield False
            return
        try:
            yield True
            Path(lock.lock_file).unlink(missing_ok=True)  # who waits for it finds the shard in its place
        finally:
            lock.release()

    def _decode_shard(self, shard: int, show: Show, done: int) -> None:
        path, (first, last) = self.path(shard), self.span(shard)
        partial, stop, decoded, counting = path.with_suffix(".partial"), threading.Event(), 0, threading.Lock()

        def work(span: tuple[int, int]) -> None:
            nonlocal decoded
            for where, pixels in self.pictures.blocks(*span):
                if stop.is_set():
                    return
                writer.write(int(where[0]), resize(pixels, self._size, self._method))
                with counting:
                    decoded += len(where)
                    show(done + decoded)

        try:
            writer = self._create(partial, first, last - first)
            try:
                run_all(work, _spans(first, last, self.workers), self.workers, stop)
                writer.finish()
            except BaseException:
                writer.close()
                raise
            write_checksum(path, partial)
            os.replace(partial, path)
        except OSError as error:
            if error.errno not in DISK_FULL:
                raise
            raise no_room(
                self.pictures.key, self.byte_size(self.missing()), self.folder.parent, error.strerror
            ) from error
        finally:
            partial.unlink(missing_ok=True)


class ShardWriter:
    """Writes the frames of one shard, in any order and from several threads."""

    def write(self, first: int, frames: NDArray[np.uint8]) -> None:
        """Store ``frames`` (n, height, width, 3), of which ``first`` is the number in the dataset."""
        raise NotImplementedError

    def finish(self) -> None:
        """Make the file whole, and close it."""
        raise NotImplementedError

    def close(self) -> None:
        """Close the file as it is; called after an error."""
        raise NotImplementedError


def _spans(first: int, last: int, workers: int) -> list[tuple[int, int]]:
    """What threads decode in a row: long enough that seeking to key frames does not count."""
    step = max(-(-(last - first) // (4 * workers)), _LEAST)
    return [(start, min(start + step, last)) for start in range(first, last, step)]
