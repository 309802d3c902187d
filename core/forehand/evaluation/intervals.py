"""Confidence intervals of success rates and means."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

Z_95 = 1.959963984540054


class Interval(NamedTuple):
    """A closed range."""

    low: float
    high: float

    def __str__(self) -> str:
        return f"[{self.low:.2f}, {self.high:.2f}]"


def wilson_interval(successes: int, trials: int, z: float = Z_95) -> Interval:
    """The Wilson score interval of a binomial proportion; 95 % by default.

    Unlike the normal approximation it stays inside [0, 1] and keeps a width when every trial succeeded or failed.
    Without trials it is [0, 1]. Source: E. B. Wilson, *Probable inference, the law of succession, and statistical
    inference*, JASA 22 (1927).
    """
    if not 0 <= successes <= trials:
        raise ValueError(f"{successes} successes in {trials} trials is impossible")
    if trials == 0:
        return Interval(0.0, 1.0)
    rate = successes / trials
    shrink = 1 + z * z / trials
    centre = (rate + z * z / (2 * trials)) / shrink
    half = z / shrink * math.sqrt(rate * (1 - rate) / trials + z * z / (4 * trials * trials))
    # The exact bounds at the ends are 0 and 1; rounding may miss them by an ulp.
    low = 0.0 if successes == 0 else centre - half
    high = 1.0 if successes == trials else centre + half
    return Interval(low, high)


def bootstrap_interval(values: Sequence[float], resamples: int = 10_000) -> Interval | None:
    """The percentile bootstrap 95 % interval of the mean of ``values``; the same each time.

    With fewer than two values there is none. Source: B. Efron, *Bootstrap methods: another look at the jackknife*,
    Annals of Statistics 7 (1979).
    """
    if len(values) < 2:
        return None
    drawn = np.random.default_rng(0).choice(np.asarray(values, np.float64), (resamples, len(values)))
    low, high = np.quantile(drawn.mean(axis=1), (0.025, 0.975))
    return Interval(float(low), float(high))


def mean_interval(values: Sequence[float], low: float, high: float, z: float = Z_95) -> Interval:
    """The normal interval of the mean of ``values``, which lie in [low, high]; 95 % by default.

    With fewer than two values it is [low, high].
    """
    if len(values) < 2:
        return Interval(low, high)
    mean, half = statistics.fmean(values), z * statistics.stdev(values) / math.sqrt(len(values))
    return Interval(max(low, mean - half), min(high, mean + half))
