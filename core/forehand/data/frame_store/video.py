"""Video store: no cache; frames are decoded from the recording at every access."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from forehand.data.frame_store.stored_frames import StoredFrames
from forehand.data.source import Pictures
from forehand.utils.images import Size, resize


class VideoFrames(StoredFrames):
    """All frames of ``pictures``, decoded and resized when they are read; equal to those of the raw store to the bit."""

    def __init__(self, pictures: Pictures, size: Size, method: str, name: str, workers: int) -> None:
        super().__init__(pictures, size, name, workers)
        self._size, self._method = size, method

    def _read(self, numbers: NDArray[np.int64], out: NDArray[np.uint8]) -> None:
        out[...] = resize(self.pictures.read(numbers), self._size, self._method)
