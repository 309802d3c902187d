"""Pages of memory-mapped files: giving back those that a process no longer needs."""

from __future__ import annotations

import mmap
from typing import Any

from numpy.typing import NDArray


def give_back(mapped: NDArray[Any]) -> None:
    """Let the system have the pages of a memory-mapped file that this process took; they are read again when needed."""
    mapping = getattr(mapped, "_mmap", None)
    if mapping is not None and hasattr(mmap, "MADV_DONTNEED"):
        mapping.madvise(mmap.MADV_DONTNEED)
