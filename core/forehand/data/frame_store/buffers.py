"""Buffers of batches, used again: fresh memory of this size costs as much time as the copy of frames into it."""

from __future__ import annotations

from collections import OrderedDict, deque
from contextlib import suppress

import numpy as np
from numpy.typing import NDArray

_LEAST = 2**20  # bytes; the allocator keeps smaller ones itself
_EACH, _SIZES = 4, 4  # buffers of one size, and sizes, that are kept

_Idle = OrderedDict[int, deque[NDArray[np.uint8]]]

_idle: _Idle = OrderedDict()


class _Lease:
    """Memory that is free to be used again once the last array or tensor on it is gone."""

    def __init__(self, memory: NDArray[np.uint8]) -> None:
        self._memory = memory

    def __buffer__(self, flags: int) -> memoryview:
        return memoryview(self._memory)

    def __release_buffer__(self, view: memoryview, idle: _Idle = _idle) -> None:
        view.release()
        # Without a lock, because this may be called wherever memory is collected.
        idle.setdefault(self._memory.size, deque(maxlen=_EACH)).append(self._memory)


def empty(shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """An array of ``shape`` whose values are not set, in memory that was used before where some is free."""
    size = int(np.prod(shape))
    if size < _LEAST:
        return np.empty(shape, np.uint8)
    try:
        memory = _idle[size].pop()
    except (KeyError, IndexError):
        memory = np.empty(size, np.uint8)
        with suppress(KeyError):
            while len(_idle) >= _SIZES and size not in _idle:
                _idle.popitem(last=False)
    return np.frombuffer(_Lease(memory), np.uint8).reshape(shape)
