"""Open files that threads read from at given positions; few are open at a time."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

OPEN_FILES = 128


class OpenFiles:
    """Descriptors of files that are read; beyond ``most``, the least recently used are closed."""

    def __init__(self, most: int = OPEN_FILES) -> None:
        self._most = most
        self._open: OrderedDict[Path, list[int]] = OrderedDict()  # descriptor, and its readers at this moment
        self._lock = threading.Lock()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._renew_lock)

    def read_into(self, path: Path, position: int, out: NDArray[Any]) -> None:
        """Fill ``out``, which is contiguous, from ``position`` bytes on; raises OSError where the file is shorter."""
        rest = memoryview(out.reshape(-1).view(np.uint8))
        with self._descriptor(path) as descriptor:
            while len(rest):
                count = os.preadv(descriptor, [rest], position)
                if not count:
                    raise OSError(f"{path} ends before byte {position + len(rest)}")
                rest, position = rest[count:], position + count

    @contextmanager
    def _descriptor(self, path: Path) -> Iterator[int]:
        with self._lock:
            entry = self._open.get(path)
            if entry is None:
                entry = self._open[path] = [os.open(path, os.O_RDONLY), 0]
            self._open.move_to_end(path)
            entry[1] += 1
            self._close_oldest()
        try:
            yield entry[0]
        finally:
            with self._lock:
                entry[1] -= 1

    def _close_oldest(self) -> None:
        if len(self._open) <= self._most:
            return
        for path, (descriptor, readers) in list(self._open.items()):
            if not readers:
                os.close(descriptor)
                del self._open[path]
                if len(self._open) <= self._most:
                    return

    def _renew_lock(self) -> None:
        self._lock = threading.Lock()


FILES = OpenFiles()
"""Those of this process."""
