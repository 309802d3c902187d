"""Durable file writes."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(path: Path, *, fsync: bool = False) -> Iterator[Path]:
    """Atomic write: gives a file beside ``path``, which then takes its place, or is removed if the body raises.

    Readers of ``path`` never get a part of it. fsync: the content is on the disk before it takes that place.
    """
    staging = path.with_name(f".{path.name}.new")
    try:
        yield staging
        if fsync:
            fsync_path(staging)
        os.replace(staging, path)
    finally:
        staging.unlink(missing_ok=True)


def link_or_copy(source: str | Path, target: str | Path) -> None:
    """Let ``target``, which is not there, have the content of the file ``source``: linked, or copied where that fails.

    It is another disk, or a file system without hard links, that fails so.
    """
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def fsync_path(path: Path) -> None:
    """Return once the file, or the folder's list of names, is on the disk and not only in the system's memory."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
