"""Frames of a camera that a source does not have: zeros, in place of what others recorded."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray


class AbsentFrames:
    """Zeros (N, *shape) for the frames that a source lacks, read as recorded ones are (:class:`FrameReader`).

    A mask says beside them that nothing was recorded.
    """

    def __init__(self, count: int, shape: Sequence[int], dtype: Any = np.uint8) -> None:
        self.shape: tuple[int, ...] = (count, *shape)
        self.dtype: np.dtype[Any] = np.dtype(dtype)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, numbers: Any) -> NDArray[Any]:
        """Zeros for the frames ``numbers`` (…), (…, *shape)."""
        return np.zeros((*np.shape(numbers), *self.shape[1:]), self.dtype)
