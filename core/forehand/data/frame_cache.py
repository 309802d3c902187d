"""Frame cache: decoded frames in memory-mapped files, each written once, whatever is interrupted meanwhile."""

from __future__ import annotations

import contextlib
import errno
import math
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import NDArray

from forehand.errors import DatasetError
from forehand.utils.in_use import hold
from forehand.utils.progress import progress

CACHE_VARIABLE = "FOREHAND_CACHE"

FRAMES_AT_ONCE = 256

DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""Numbers of errors that say that there is no room."""

FrameBlock = tuple[NDArray[np.int64], NDArray[Any]]
"""Numbers of frames, (n,), and the frames, (n, ...)."""


@dataclass(frozen=True)
class MapLayout:
    """Array of a memory map: ``total`` frames of ``shape``, and whose they are: ``key`` of the dataset at ``root``."""

    key: str
    root: Path
    total: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]


def cache_folder() -> Path:
    """Where decoded frames are kept: ``$FOREHAND_CACHE``, or ``~/.cache/forehand``."""
    return Path(os.environ.get(CACHE_VARIABLE) or Path.home() / ".cache" / "forehand").expanduser()


def frames_folder(cache: Path | None) -> Path:
    """The folder of memory maps below ``cache``, by default :func:`cache_folder`."""
    folder = (cache or cache_folder()) / "frames"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def open_map(
    folder: Path,
    name: str,
    layout: MapLayout,
    blocks: Iterable[FrameBlock],
) -> NDArray[Any]:
    """The memory map ``name`` in ``folder``, (total, *shape), read-only; written first from ``blocks`` where it is new.

    Other processes wait for it meanwhile. An interrupted writing is started over. ``blocks`` are not read where the map
    is there. Raises :class:`DatasetError`.
    """
    path = folder / f"{name}.npy"
    if not path.exists():
        with FileLock(path.with_suffix(".lock")):
            if not path.exists():
                remove_partial(folder)
                _decode_into(path, layout, blocks)
    hold(path)
    frames: NDArray[Any] = np.load(path, mmap_mode="r")
    return frames


def remove_partial(folder: Path) -> None:
    """Remove what killed decodings left in ``folder``; those that are under way hold their locks, and stay."""
    for partial in folder.glob("*.partial"):
        with contextlib.suppress(Timeout), FileLock(partial.with_suffix(".lock"), timeout=0):
            partial.unlink(missing_ok=True)


def missing_frames(root: Path, key: str, total: int, count: int, why: str) -> DatasetError:
    """The error about ``count`` frames that a dataset lacks."""
    return DatasetError(
        f"{count} of {total} frames of {key!r} are missing from the pictures of {root} ({why}). "
        f"Fetch or copy the dataset again, whole."
    )


def no_room(key: str, needed: float, folder: Path, why: str | None) -> DatasetError:
    """The error about decoded frames that need ``needed`` bytes in ``folder``."""
    return DatasetError(
        f"The decoded frames of {key!r} need {needed / 1e6:.1f} MB in {folder}, which has no room for them ({why}). Make "
        f"room, keep them elsewhere (cache=<folder>, or ${CACHE_VARIABLE}), or keep less: frames=jpeg, frames=video."
    )


def reserve_space(file: BinaryIO, size: int) -> None:
    """Reserve ``size`` bytes on disk, where the system can; elsewhere a full disk fails at writing."""
    if not hasattr(os, "posix_fallocate"):
        return
    try:
        os.posix_fallocate(file.fileno(), 0, size)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP):
            raise


def _decode_into(path: Path, layout: MapLayout, blocks: Iterable[FrameBlock]) -> None:
    partial = path.with_suffix(".partial")
    try:
        with partial.open("wb") as file:
            _write_frames(file, layout, blocks)
        os.replace(partial, path)
    except OSError as error:
        if error.errno not in DISK_FULL:
            raise
        needed = layout.total * math.prod(layout.shape) * layout.dtype.itemsize
        raise no_room(layout.key, needed, path.parent, error.strerror) from error
    finally:
        partial.unlink(missing_ok=True)


def _write_frames(file: BinaryIO, layout: MapLayout, blocks: Iterable[FrameBlock]) -> None:
    """Write the map with all frames; the disk's room is taken first, so that a full one is noticed at once."""
    shape = (layout.total, *layout.shape)
    descr = np.lib.format.dtype_to_descr(layout.dtype)
    np.lib.format.write_array_header_1_0(file, {"descr": descr, "fortran_order": False, "shape": shape})
    file.flush()
    begin, length = file.tell(), math.prod(layout.shape) * layout.dtype.itemsize
    reserve_space(file, begin + layout.total * length)
    done = np.zeros(layout.total, bool)
    with progress(f"decoding {layout.key}", layout.total, transient=True) as show:
        decoded = 0
        for where, frames in blocks:
            for number, frame in zip(where, frames, strict=True):
                file.seek(begin + int(number) * length)
                file.write(frame.tobytes())
            done[where] = True
            decoded += len(where)
            show(decoded)
    if not done.all():
        why = f"the first is frame {int(done.argmin())}"
        raise missing_frames(layout.root, layout.key, layout.total, int((~done).sum()), why)
