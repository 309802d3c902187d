"""Memory-mapped files, of which few are mapped at a time."""

from __future__ import annotations

from collections import OrderedDict
from contextlib import suppress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

MAPPED_FILES = 256


class MappedFiles:
    """The bytes of files; beyond ``most``, the least recently used are unmapped once no array shows them.

    There is no lock, since a process may fork while another thread reads: at worst a file is mapped twice.
    """

    def __init__(self, most: int = MAPPED_FILES) -> None:
        self._most = most
        self._maps: OrderedDict[Path, NDArray[np.uint8]] = OrderedDict()

    def bytes_of(self, path: Path) -> NDArray[np.uint8]:
        """All bytes of ``path``, (size,), read-only; raises FileNotFoundError."""
        found = self._maps.get(path)
        if found is None:
            found = self._maps[path] = np.memmap(path, np.uint8, "r").view(np.ndarray)
        with suppress(KeyError):  # another thread was faster
            self._maps.move_to_end(path)
            while len(self._maps) > self._most:
                self._maps.popitem(last=False)
        return found
