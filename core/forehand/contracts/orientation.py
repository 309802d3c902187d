"""Orientations of pictures: how their rows and columns lie, compared with what the camera sees."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]

ORIENTATIONS: Mapping[str, Callable[[Pixels], Pixels]] = {
    "upright": lambda pixels: pixels,
    "flipped_vertically": lambda pixels: pixels[::-1],
    "flipped_horizontally": lambda pixels: pixels[:, ::-1],
    "rotated_180": lambda pixels: pixels[::-1, ::-1],
}
"""How a picture (H, W, …) lies → what turns it upright, and an upright one so. OpenGL's rows from bottom to top are
``flipped_vertically``: left and right are right already, so that turning by 180° would mirror them."""


def turned(pixels: Pixels, lies: str, wanted: str) -> Pixels:
    """A picture that lies as ``lies`` says, as ``wanted``."""
    return np.ascontiguousarray(ORIENTATIONS[wanted](ORIENTATIONS[lies](pixels)))
