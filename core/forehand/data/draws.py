"""Repeatable random numbers: each follows from a seed, a step and a number alone."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_MULTIPLIERS = (np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))
_STEP = np.uint64(0x9E3779B97F4A7C15)


def hashes(numbers: NDArray[np.uint64], seed: int, step: int) -> NDArray[np.uint64]:
    """Even 64-bit hashes of numbers, a seed and a step: splitmix64 (Steele, Lea and Flood 2014), once for each."""
    with np.errstate(over="ignore"):
        value = np.zeros_like(numbers)
        for part in (np.uint64(seed % 2**64), np.uint64(step), numbers):
            value = value + part + _STEP
            value = (value ^ (value >> np.uint64(30))) * _MULTIPLIERS[0]
            value = (value ^ (value >> np.uint64(27))) * _MULTIPLIERS[1]
            value = value ^ (value >> np.uint64(31))
    return value


def uniform(numbers: NDArray[np.int64], seed: int, step: int) -> NDArray[np.float64]:
    """Numbers from 0 to below 1, evenly distributed, one for each of ``numbers`` (…)."""
    return np.asarray((hashes(numbers.astype(np.uint64), seed, step) >> np.uint64(11)) * 2.0**-53)
