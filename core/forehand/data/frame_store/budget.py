"""Room for cached frames: how much there is, and making it by removing what was not used for longest."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from forehand.data.frame_cache import no_room
from forehand.data.frame_store.checksums import sum_file
from forehand.data.frame_store.options import in_units
from forehand.data.frame_store.shards import USED
from forehand.utils.in_use import unused

MAX_RESERVE = 10 * 10**9
"""Bytes of a disk, or 5 % of a smaller one, that cached frames leave free where no budget is stated."""


@dataclass(frozen=True)
class Entry:
    """Cached frames that are held together: the shards in a folder, or one file. used: time of the last use."""

    held_by: Path
    files: tuple[Path, ...]
    size: int
    used: float


@dataclass(frozen=True)
class Room:
    """Bytes that may still be written: at once, and after everything is removed that no process uses."""

    free: int
    after_removal: int


def find_room(folder: Path, budget: int | None) -> Room:
    """Room in ``folder`` for cached frames, which may take ``budget`` bytes in all; None: what the disk has free."""
    entries = list(_entries(folder))
    disk = shutil.disk_usage(folder)
    free = disk.free - min(MAX_RESERVE, disk.total // 20)
    if budget is not None:
        free = min(free, budget - sum(entry.size for entry in entries))
    return Room(free, free + sum(entry.size for entry in entries if _removable(entry)))


def make_room(folder: Path, budget: int | None, needed: float, key: str) -> None:
    """Remove cached frames in ``folder`` that no process uses, the least recently used first, to write ``needed`` bytes.

    Raises :class:`DatasetError` about the frames ``key`` where that is not enough to stay within a stated ``budget``, or
    for the disk.
    """
    lacking = needed - find_room(folder, budget).free
    if lacking <= 0:
        return
    for entry in sorted(_entries(folder), key=lambda entry: entry.used):
        with unused(entry.held_by) as free:
            if not free:
                continue
            for file in entry.files:
                if lacking <= 0:
                    break
                with suppress(OSError):
                    size = file.stat().st_size
                    file.unlink()
                    sum_file(file).unlink(missing_ok=True)
                    lacking -= size
        if lacking <= 0:
            return
    if budget is not None:
        raise no_room(key, needed, folder, f"cache_budget={in_units(budget)}")
    if needed > shutil.disk_usage(folder).free:
        raise no_room(key, needed, folder, os.strerror(errno.ENOSPC))


def _entries(folder: Path) -> Iterator[Entry]:
    for path in folder.iterdir():
        with suppress(OSError):
            if path.suffix == ".npy":
                status = path.stat()
                yield Entry(path, (path,), status.st_size, status.st_mtime)
            elif (used := path / USED).exists():
                with os.scandir(path) as found:
                    files = [(Path(f.path), f.stat().st_size) for f in found if f.name.endswith((".npy", ".jpegs"))]
                yield Entry(used, tuple(f for f, _ in files), sum(size for _, size in files), used.stat().st_mtime)


def _removable(entry: Entry) -> bool:
    with unused(entry.held_by) as free:
        return free
