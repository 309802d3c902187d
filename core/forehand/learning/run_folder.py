"""Run folder of a training: one process at a time, and no half-written checkpoints of killed ones."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from forehand.errors import ConfigurationError
from forehand.learning.checkpoint import remove_unfinished

_LOCK = ".lock"


@contextlib.contextmanager
def run_folder(folder: Path) -> Iterator[Path]:
    """Exclusive lock on training in ``folder``; unfinished checkpoints of a killed run are removed."""
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / _LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        message = f"Another process is training in {folder.absolute()}. Wait for it, or choose another output."
        raise ConfigurationError(message) from None
    try:
        remove_unfinished(folder)
        yield folder
    finally:
        lock.release()
