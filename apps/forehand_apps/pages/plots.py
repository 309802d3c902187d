"""Curves and histograms as inline SVG."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from forehand.data.checking.values import ROUNDING

WIDTH, HEIGHT, MARGIN = 1000, 100, 4
"""Of the drawing's own coordinates; a page stretches them."""

MOST_POINTS = 2000
"""Points of a curve; of longer ones every n-th is drawn."""


@dataclass(frozen=True)
class Curves:
    """Curves of one quantity over the frames of an episode.

    lines: points of each element as SVG's ``points``, parts apart where values are missing; low, high: the limits of the
    vertical axis; zero: where 0 is on it, or None; stride: frames from one of ``values`` to the next; values: of each
    element, for reading them off.
    """

    lines: Sequence[Sequence[str]]
    low: float
    high: float
    zero: float | None
    stride: int
    values: Sequence[Sequence[float | None]]


def curves(values: NDArray[np.float32], low: float, high: float) -> Curves:
    """Curves of ``values`` (N, D) between ``low`` and ``high``."""
    stride = max(1, -(-len(values) // MOST_POINTS))
    few = values[::stride].astype(np.float64)
    if high - low <= ROUNDING * max(1.0, abs(low), abs(high)):
        middle = round((low + high) / 2, 6) + 0.0  # no negative zero
        low, high = middle - 0.5, middle + 0.5
    across = np.arange(0, len(values), stride, dtype=np.float64) * (WIDTH / max(len(values) - 1, 1))
    down = MARGIN + (HEIGHT - 2 * MARGIN) * (1 - (few - low) / (high - low))
    zero = MARGIN + (HEIGHT - 2 * MARGIN) * high / (high - low) if low < 0 < high else None
    digits = max(0, 4 - math.floor(math.log10(high - low)))
    lines = [_parts(across, down[:, element]) for element in range(values.shape[1])]
    numbers = [[_rounded(x, digits) for x in few[:, element].tolist()] for element in range(values.shape[1])]
    return Curves(lines, low, high, zero, stride, numbers)


def histogram(values: NDArray[np.float32], bins: int = 40) -> list[tuple[float, float, float]]:
    """Bars of a histogram of ``values`` (N,): left, width and height, as shares of the whole; [] where all are equal."""
    finite = values[np.isfinite(values)]
    if not len(finite) or finite.min() == finite.max():
        return []
    counts, _ = np.histogram(finite.astype(np.float64), bins)
    heights = np.sqrt(counts / counts.max())  # so that rare values are seen beside frequent ones
    return [(i / bins, 1 / bins, float(h)) for i, h in enumerate(heights) if h]


def _parts(across: NDArray[np.float64], down: NDArray[np.float64]) -> list[str]:
    """Points of one line, in a part for each run of finite values."""
    finite = np.isfinite(down)
    cuts = np.flatnonzero(np.diff(finite.astype(np.int8))) + 1
    runs = [run for run in np.split(np.arange(len(down)), cuts) if len(run) and finite[run[0]]]
    return [" ".join(f"{across[i]:.1f},{down[i]:.1f}" for i in run) for run in runs]


def _rounded(value: float, digits: int) -> float | None:
    return round(value, digits) + 0.0 if math.isfinite(value) else None
