"""Features of frozen vision towers, described for the datasets that cache them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

Array = NDArray[Any]


@dataclass(frozen=True)
class FrozenFeatures:
    """How features of one camera are computed: ``encode`` maps (n, H, W, 3) uint8 to (n, *``shape``) float32.

    digest: a name for what ``encode`` computes, from the tower's weights and configuration.
    """

    camera: str
    shape: tuple[int, ...]
    digest: str
    encode: Callable[[Array], Array]
