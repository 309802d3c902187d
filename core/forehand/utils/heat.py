"""Pictures of an error at each place, as heat."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

COLORMAP = "inferno"


def heat_picture(values: NDArray[np.floating], largest: float) -> NDArray[np.uint8]:
    """(h, w) → (h, w, 3) uint8 in matplotlib's ``inferno``: black at 0, brightest from ``largest`` on."""
    import matplotlib

    share = np.asarray(values, np.float64) / max(largest, 1e-9)
    return np.asarray(matplotlib.colormaps[COLORMAP](share.clip(0, 1), bytes=True)[..., :3], np.uint8)
