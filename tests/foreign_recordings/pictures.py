"""Pictures that tell top from bottom, left from right, and frame from frame."""

import numpy as np
from numpy.typing import NDArray


def scene(size: int, level: int) -> NDArray[np.uint8]:
    """(size, size, 3): red above, blue below, green at the left, all brighter with ``level``."""
    picture = np.zeros((size, size, 3), np.uint8)
    picture[: size // 2, :, 0] = 100 + 3 * level
    picture[size // 2 :, :, 2] = 100 + 3 * level
    picture[:, : size // 2, 1] = 100 + 3 * level
    return picture


def level(picture: NDArray[np.uint8]) -> float:
    """The level of an upright scene."""
    half = len(picture) // 2
    return float(picture[2 : half - 2, half + 4 :, 0].mean() - 100) / 3


def is_upright(picture: NDArray[np.uint8]) -> bool:
    """Whether red is above, blue below, and green at the left."""
    half = len(picture) // 2
    top, left = picture[2 : half - 2], picture[:, 2 : half - 2]
    return bool(
        top[..., 0].mean() > 2 * top[..., 2].mean() and left[..., 1].mean() > 60 > picture[:, half + 4 :, 1].mean()
    )
