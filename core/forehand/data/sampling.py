"""Deterministic batch sampling: a batch follows from the seed and the step alone, so training resumes exactly."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

MOST_WEIGHT = 1e9
"""Of a source or a dataset, so that sums of weights stay finite and exact enough."""


def is_weight(value: object) -> bool:
    """Whether ``value`` is a sampling weight: a number from 0 to :data:`MOST_WEIGHT`."""
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= MOST_WEIGHT


class ShuffledBatches:
    """An endless stream of batches of indices below ``size``: one fresh permutation after another, cut into batches.

    Every index comes once an epoch, also where a batch spans two of them. batches_per_epoch: cut each permutation into so
    many whole batches, and leave out the rest of it.
    """

    def __init__(self, size: int, batch_size: int, seed: int, batches_per_epoch: int | None = None) -> None:
        if size < (batches_per_epoch or 0) * batch_size or size < 1 or batch_size < 1:
            raise ValueError(f"cannot draw {batches_per_epoch or ''} batches of {batch_size} from {size} windows")
        self.size, self.batch_size, self.seed = size, batch_size, seed
        self.batches_per_epoch = batches_per_epoch
        self._epoch = -1
        self._permutation: NDArray[np.int64] = np.empty(0, np.int64)

    def at(self, step: int) -> NDArray[np.int64]:
        """The batch of ``step``, (batch_size,)."""
        if self.batches_per_epoch:
            epoch, number = divmod(step, self.batches_per_epoch)
            return self._order(epoch)[number * self.batch_size : (number + 1) * self.batch_size]
        positions = np.arange(step * self.batch_size, (step + 1) * self.batch_size)
        epochs = positions // self.size
        pieces = [self._order(int(e))[positions[epochs == e] % self.size] for e in np.unique(epochs)]
        return np.concatenate(pieces)

    def _order(self, epoch: int) -> NDArray[np.int64]:
        if epoch != self._epoch:
            self._permutation = np.random.default_rng([self.seed, epoch]).permutation(self.size)
            self._epoch = epoch
        return self._permutation


class WeightedBatches:
    """An endless stream of batches of indices, each drawn with a probability that is proportional to its weight."""

    def __init__(self, weights: NDArray[np.float64], batch_size: int, seed: int) -> None:
        if batch_size < 1 or not len(weights) or not np.isfinite(weights).all() or weights.min() < 0 or not weights.any():
            raise ValueError("weighted batches need finite weights that are not negative, and one that is not zero")
        self.batch_size, self.seed = batch_size, seed
        self._until = np.cumsum(weights)

    def at(self, step: int) -> NDArray[np.int64]:
        """The batch of ``step``, (batch_size,)."""
        drawn = np.random.default_rng([self.seed, step]).random(self.batch_size) * self._until[-1]
        return np.searchsorted(self._until, drawn, side="right")
