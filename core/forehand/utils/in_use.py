"""Locks on cached files that a process uses, so that no other one removes them to make room."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows: nothing is removed there
    fcntl = None  # type: ignore[assignment]

_held: dict[Path, int] = {}
_lock = threading.Lock()


def hold(path: Path) -> None:
    """Keep the file ``path`` from being removed by :func:`unused` while this process runs, and note that it is used.

    It is made if it is not there. Where the file system has no locks nothing is held.
    """
    with _lock:
        if fcntl is not None and not _is_held(path):
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
            with suppress(OSError):
                fcntl.flock(descriptor, fcntl.LOCK_SH)
            _held[path] = descriptor
    with suppress(OSError):
        os.utime(path)


def release(path: Path) -> None:
    """Let other processes remove the file ``path`` again."""
    with _lock:
        if path in _held:
            os.close(_held.pop(path))


def _is_held(path: Path) -> bool:
    """Whether this process holds the file that is at ``path`` now, and not one that was removed."""
    if path not in _held:
        return False
    with suppress(OSError):
        if os.path.samestat(os.fstat(_held[path]), path.stat()):
            return True
    os.close(_held.pop(path))
    return False


@contextmanager
def unused(path: Path) -> Iterator[bool]:
    """Whether no process holds ``path``; while the context lasts, none can begin to."""
    if fcntl is None or _is_held(path):
        yield False
        return
    try:
        descriptor = os.open(path, os.O_RDWR)
    except OSError:
        yield False
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        free = True
    except OSError:
        free = False
    try:
        yield free
    finally:
        os.close(descriptor)
