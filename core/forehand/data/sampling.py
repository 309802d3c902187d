"""Batches that resume exactly: what comes at a step follows from the seed and the step alone."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray


class ShuffledBatches:
    """An endless stream of batches of indices below ``size``: one fresh permutation after another, cut into batches.

    Every index comes once an epoch, also where a batch spans two of them. ``step`` is the batch that comes next::

        for step, indices in batches: ...
    """

    def __init__(self, size: int, batch_size: int, seed: int, step: int = 0) -> None:
        if size < 1 or batch_size < 1:
            raise ValueError(f"cannot draw batches of {batch_size} from {size} windows")
        self.size, self.batch_size, self.seed, self.step = size, batch_size, seed, step
        self._epoch = -1
        self._permutation: NDArray[np.int64] = np.empty(0, np.int64)

    def at(self, step: int) -> NDArray[np.int64]:
        """The batch of ``step``, (batch_size,)."""
        positions = np.arange(step * self.batch_size, (step + 1) * self.batch_size)
        epochs = positions // self.size
        pieces = [self._order(int(e))[positions[epochs == e] % self.size] for e in np.unique(epochs)]
        return np.concatenate(pieces)

    def __iter__(self) -> Iterator[tuple[int, NDArray[np.int64]]]:
        while True:
            step, self.step = self.step, self.step + 1
            yield step, self.at(step)

    @property
    def epoch(self) -> float:
        """Passes over the data before ``step``."""
        return self.step * self.batch_size / self.size

    def state_dict(self) -> dict[str, int]:
        """What has to be kept to go on: the seed, the step and the sizes it counts in."""
        return {"seed": self.seed, "step": self.step, "size": self.size, "batch_size": self.batch_size}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Go on after :meth:`state_dict`; refused if the data or the batch size are no longer the same."""
        for name in ("size", "batch_size"):
            if state[name] != getattr(self, name):
                raise ValueError(f"cannot resume: {name} was {state[name]} and is now {getattr(self, name)}")
        self.seed, self.step = state["seed"], state["step"]
        self._epoch = -1

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
