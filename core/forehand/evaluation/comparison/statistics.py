"""Paired statistics: differences of two arms whose outcomes are crossed by training seed and scene. Needs scipy."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from forehand.evaluation.intervals import Interval

Outcomes = NDArray[np.float64]
"""(seeds, scenes): what came of each scene with the policy of each training seed."""

RESAMPLES = 10_000
POWER, LEVEL = 0.8, 0.05


def permutation_p(differences: Sequence[float]) -> float | None:
    """Two-sided p of no difference by a paired permutation test over training seeds; None with fewer than two.

    differences: of each training seed the mean difference over scenes. Exact with up to 13 seeds, else over
    :data:`RESAMPLES` drawn sign changes. With n seeds it is never below 2 / 2ⁿ.
    """
    from scipy import stats

    values = np.asarray(differences, np.float64)
    if len(values) < 2:
        return None
    found = stats.permutation_test(
        (values,),
        lambda x, axis: np.mean(x, axis=axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=RESAMPLES,
        rng=np.random.default_rng(0),
    )
    return float(found.pvalue)


def two_way_interval(differences: Outcomes, resamples: int = RESAMPLES) -> Interval | None:
    """The bootstrap 95 % interval of the mean difference (seeds, scenes), resampling both; None with one of either.

    Training seeds and scenes are drawn with replacement, independently of each other, since both are samples. Source:
    A. B. Owen, *The pigeonhole bootstrap*, Annals of Applied Statistics 1 (2007).
    """
    seeds, scenes = differences.shape
    if seeds < 2 or scenes < 2:
        return None
    draw = np.random.default_rng(0)
    by_seed = draw.multinomial(seeds, np.full(seeds, 1 / seeds), resamples) / seeds
    by_scene = draw.multinomial(scenes, np.full(scenes, 1 / scenes), resamples) / scenes
    means = np.einsum("rs,sc,rc->r", by_seed, differences, by_scene, optimize=True)
    low, high = np.quantile(means, (0.025, 0.975))
    return Interval(float(low), float(high))


def mcnemar_p(only_first: int, only_second: int) -> float:
    """Two-sided exact p of McNemar's test for one pair of policies; of scenes in which only one of them succeeds.

    Source: Q. McNemar, *Note on the sampling error of the difference between correlated proportions*, Psychometrika 12
    (1947).
    """
    from scipy import stats

    if not only_first + only_second:
        return 1.0
    return float(stats.binomtest(only_first, only_first + only_second).pvalue)


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """p values adjusted for their number, so that each may be held against one level; None stays, and is not counted.

    Source: S. Holm, *A simple sequentially rejective multiple test procedure*, Scandinavian J. of Statistics 6 (1979).
    """
    known = sorted((p, i) for i, p in enumerate(p_values) if p is not None)
    found: list[float | None] = [None] * len(p_values)
    largest = 0.0
    for place, (p, i) in enumerate(known):
        largest = max(largest, min(1.0, p * (len(known) - place)))
        found[i] = largest
    return found


def detectable(differences: Sequence[float], n: int | None = None) -> float | None:
    """The smallest difference that a paired t test with ``n`` seeds, default as many, finds at 80 % power and level 0.05.

    By the spread of ``differences`` over training seeds; None with fewer than two seeds.
    """
    if len(differences) < 2 or (count := len(differences) if n is None else n) < 2:
        return None
    return float(_found_with(differences, np.array([count]))[0])


def seeds_needed(differences: Sequence[float], most: int = 1000) -> int | None:
    """How many training seeds would find the mean of ``differences``, by :func:`detectable`; None above ``most``."""
    if len(differences) < 2 or not (size := abs(float(np.mean(differences)))):
        return None
    counts = np.arange(2, most + 1)
    enough = _found_with(differences, counts) <= size
    return int(counts[enough.argmax()]) if enough.any() else None


def _found_with(differences: Sequence[float], counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """:func:`detectable` for each number of seeds in ``counts``."""
    from scipy import stats

    quantiles = stats.t.ppf(1 - LEVEL / 2, counts - 1) + stats.t.ppf(POWER, counts - 1)
    sizes: NDArray[np.float64] = quantiles * np.std(differences, ddof=1) / np.sqrt(counts)
    return sizes


def superiority(differences: Outcomes) -> float:
    """Probability that the second arm is better at a scene and seed, ties counted half: 0.5 where neither is."""
    return float(np.mean(differences > 0) + np.mean(differences == 0) / 2)
