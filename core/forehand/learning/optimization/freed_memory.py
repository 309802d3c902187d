"""Memory that was freed on the CPU, kept for the next step."""

from __future__ import annotations

import ctypes
import sys

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # of glibc's malloc.h
NEVER = -1


def keep_freed_memory() -> bool:
    """Let glibc keep what this process frees, instead of returning it to the system; False for another C library.

    A training step frees what it allocated, and the next one allocates as much. By default large blocks go back to the
    system every time, and are got again page by page, all zeros: a tenth of a small policy's step, and up to half of it
    beside other processes that do the same. Torch keeps an accelerator's memory likewise. The process never needs more
    at once for it, but gives less back in between.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    return mallopt is not None and bool(mallopt(M_MMAP_MAX, 0) and mallopt(M_TRIM_THRESHOLD, NEVER))
