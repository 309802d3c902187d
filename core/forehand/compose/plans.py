"""What has to be computed of a window, and under which mask: worked out from the table of who reads whom, once a case."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from forehand.compose.tokens import Block, Layout, Reads, TokenGroup, read_mask

Wanted = tuple[str, ...]
"""Names of query groups, in the order in which they are to be answered."""


@dataclass(frozen=True)
class WindowPlan:
    """All tokens of a window that wanted queries depend on.

    timesteps: (L,); mask: (L, L); answering: (A,), where the wanted queries stand, group by group and step by step.
    """

    layout: Layout
    timesteps: Tensor
    mask: Tensor
    answering: Tensor


@dataclass(frozen=True)
class GrowthPlan:
    """The tokens of one more timestep, behind what those of earlier timesteps have left.

    newest: groups of the new tokens, N in all. mask: (N, (T - 1)·K + N), what they read of T - 1 earlier timesteps, K
    remembered tokens each, and of each other. answering: (A,), where the wanted queries stand. kept: groups that later
    timesteps will read, in their order; remembered: (K,), where they stand.
    """

    newest: tuple[TokenGroup, ...]
    mask: Tensor
    answering: Tensor
    kept: tuple[str, ...]
    remembered: Tensor


class Plans:
    """Plans for windows of up to ``history`` timesteps of ``groups``, with ``queries`` at every timestep."""

    def __init__(self, groups: Sequence[TokenGroup], queries: Sequence[TokenGroup], reads: Reads, history: int) -> None:
        self._groups, self._queries, self._reads, self.history = groups, queries, reads, history
        self.window = lru_cache(maxsize=64)(self._window)
        self.growth = lru_cache(maxsize=64)(self._growth)

    def _needed(self, steps: int, wanted: Wanted, query_steps: Iterable[int]) -> Layout:
        whole = Layout(self._groups, self._queries, steps, range(steps))
        return whole.needed(self._reads, dict.fromkeys(wanted, tuple(query_steps)))

    @torch.inference_mode(False)  # training may meet a plan that a session made
    def _window(self, steps: int, wanted: Wanted, query_steps: tuple[int, ...], device: torch.device) -> WindowPlan:
        layout = self._needed(steps, wanted, query_steps)
        asked = [b for name in wanted for b in layout.blocks if b.group.name == name and b.timestep in query_steps]
        return WindowPlan(
            layout,
            torch.from_numpy(layout.timesteps()).to(device),
            torch.from_numpy(read_mask(layout, self._reads)).to(device),
            _positions(asked).to(device),
        )

    @torch.inference_mode(False)
    def _growth(self, wanted: Wanted, device: torch.device) -> GrowthPlan | None:
        """None if what was computed for a shorter window is not what a longer one computes.

        That is so where a token that is read later on reads ahead itself: the next timestep changes what it says.
        """
        layout = self._needed(self.history, wanted, (self.history - 1,))
        mask, timesteps = read_mask(layout, self._reads), layout.timesteps()
        newest = [b for b in layout.blocks if b.timestep == self.history - 1]
        start = newest[0].start
        if (mask & (timesteps[:, None] < timesteps))[:start].any():
            return None
        kept = tuple(dict.fromkeys(b.group.name for b in layout.blocks if b.timestep < self.history - 1))
        return GrowthPlan(
            tuple(b.group for b in newest),
            torch.from_numpy(mask[start:]).to(device),
            (_positions(b for name in wanted for b in newest if b.group.name == name) - start).to(device),
            kept,
            (_positions(b for b in newest if b.group.name in kept) - start).to(device),
        )


def _positions(blocks: Iterable[Block]) -> Tensor:
    ranges = [np.arange(b.start, b.stop) for b in blocks]
    return torch.from_numpy(np.concatenate([np.empty(0, np.int64), *ranges]))
