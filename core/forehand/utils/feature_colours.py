"""Principal components of image features as colours, so that features can be looked at."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


class FeatureColours:
    """Red, green and blue as the first three principal components of some ``features`` (h, w, W).

    The axes and their ranges are those of the features it was made from, so that pictures of one episode compare.
    """

    def __init__(self, features: NDArray[np.floating]) -> None:
        values = np.asarray(features, np.float64).reshape(-1, features.shape[-1])
        self._middle = values.mean(axis=0)
        _, _, axes = np.linalg.svd(values - self._middle, full_matrices=False)
        self._axes = np.zeros((3, values.shape[1]))
        self._axes[: len(axes[:3])] = axes[:3]
        along = (values - self._middle) @ self._axes.T
        self._reach = np.maximum(np.abs(along).max(axis=0), 1e-9)

    def __call__(self, features: NDArray[np.floating]) -> NDArray[np.uint8]:
        """(h, w, W) → (h, w, 3) uint8."""
        along = (np.asarray(features, np.float64) - self._middle) @ self._axes.T / self._reach
        return ((np.nan_to_num(along).clip(-1, 1) + 1) * 127.5).round().astype(np.uint8)
