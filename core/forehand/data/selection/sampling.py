"""Stratified sampling of episodes: the same share of every task, decided by a seed."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

SPLIT, FRACTION = 0, 1
"""What is decided: each by random numbers of its own."""


def stratified_order(tasks: NDArray[np.int64], seed: int, purpose: int) -> NDArray[np.int64]:
    """An order of episodes, (E,), every beginning of which holds the same share of every task, as far as that goes.

    tasks: of each episode, (E,). So a larger share contains a smaller one.
    """
    random = np.random.default_rng([seed, purpose])
    shuffled = random.permutation(len(tasks))
    names, task = np.unique(tasks, return_inverse=True)
    offsets = random.random(len(names))
    by_task = shuffled[np.argsort(task[shuffled], kind="stable")]
    counts = np.bincount(task)
    ranks = np.empty(len(tasks))
    ranks[by_task] = np.arange(len(tasks)) - np.repeat(np.cumsum(counts) - counts, counts)
    share = (ranks + offsets[task]) / counts[task]
    place = np.empty(len(tasks), np.int64)
    place[shuffled] = np.arange(len(tasks))
    return np.lexsort((place, share))


def share_of(count: int, fraction: float) -> int:
    """How many of ``count`` episodes a fraction is: one at least."""
    return max(1, round(fraction * count))
