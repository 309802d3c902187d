"""Digest of a dataset's files: a short name for their content, the same on every machine."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path

_HASHED_ENDS = 2**20
_MANY_FILES, _HASHED_ENDS_OF_MANY = 4096, 2**14  # as of format 2, with a table and a video of each episode


def content_digest(root: Path, files: Iterable[Path], about: str = "") -> str:
    """A short name for the content of ``files`` below ``root``, and for ``about``.

    Of every file its path, its size and both its ends are hashed, 1 MiB, or 16 KiB where there are more than 4096 files:
    small files wholly, large ones where Parquet and MP4 keep their tables of contents, so that terabytes take seconds.
    """
    digest, files = hashlib.blake2b(about.encode(), digest_size=16), list(files)
    ends = _HASHED_ENDS if len(files) <= _MANY_FILES else _HASHED_ENDS_OF_MANY
    before = f"{root}{os.sep}"
    for path in files:
        size, text = path.stat().st_size, str(path)
        name = text.removeprefix(before) if text.startswith(before) else str(path.relative_to(root))
        digest.update(f"{name.replace(os.sep, '/')}\0{size}\0".encode())
        with path.open("rb") as file:
            digest.update(file.read(ends))
            file.seek(max(size - ends, 0))
            digest.update(file.read(ends))
    return digest.hexdigest()
