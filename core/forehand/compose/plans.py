"""Attention plans: which tokens of a window are computed under which mask, derived from the reads table and cached."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor, nn

from forehand.compose.tokens import BEFORE, Layout, Reads, TokenBlock, TokenGroup, read_mask

Wanted = tuple[str, ...]
"""Names of query groups, in the order of their outputs."""


@dataclass(frozen=True)
class WindowPlan:
    """All tokens of a window that wanted queries depend on.

    timesteps: (L,), 0 for tokens of the episode; mask: (L, L); query_index: (A,), positions of the wanted queries, group
    by group and step by step. prefix: the groups of the E tokens of the episode that stand in front. queries: (L,)
    bool, the query tokens that no other group reads.
    """

    layout: Layout
    timesteps: Tensor
    mask: Tensor
    query_index: Tensor
    prefix: tuple[TokenGroup, ...]
    queries: Tensor


@dataclass(frozen=True)
class IncrementalPlan:
    """The tokens of one more timestep, behind the cache of the episode's tokens and that of earlier timesteps.

    new_groups: groups of the new tokens, N in all. mask: (N, E + (T - 1)·K + N), what they read of E tokens of the
    episode, of T - 1 earlier timesteps, K cached tokens each, and of each other. query_index: (A,), positions of the
    wanted queries. cached_groups: groups that later timesteps will read, in their order; cached_index: (K,), positions of
    their tokens. prefix: the groups of the tokens of the episode; prefix_mask: (E, E), what they read of each other.
    queries: (N,) bool, the new query tokens that no other group reads.
    """

    new_groups: tuple[TokenGroup, ...]
    mask: Tensor
    query_index: Tensor
    cached_groups: tuple[str, ...]
    cached_index: Tensor
    prefix: tuple[TokenGroup, ...]
    prefix_mask: Tensor
    queries: Tensor


class Plans:
    """Plans for windows of up to ``history`` timesteps of ``groups``, with ``queries`` at every timestep."""

    def __init__(self, groups: Sequence[TokenGroup], queries: Sequence[TokenGroup], reads: Reads, history: int) -> None:
        self._groups, self._queries, self._reads, self.history = groups, queries, reads, history
        self._unread = {query.name for query in queries if not _read_by_others(query, [*groups, *queries], reads)}
        self.window = lru_cache(maxsize=64)(self._window)
        self.incremental = lru_cache(maxsize=64)(self._incremental)
        self.needed_timesteps = lru_cache(maxsize=64)(self._needed_timesteps)

    def with_donor(self, groups: Sequence[TokenGroup], reads: Reads) -> Plans:
        """Plans with more groups and another table, in which every query keeps its role in the backbone."""
        plans = Plans([*self._groups, *groups], self._queries, reads, self.history)
        plans._unread = self._unread
        return plans

    def _needed_timesteps(self, steps: int, wanted: Wanted, asked: tuple[int, ...]) -> tuple[int, ...]:
        """The timesteps, of ``steps``, whose tokens ``wanted`` queries at the timesteps ``asked`` depend on."""
        return tuple(sorted({b.timestep for b in self._needed(steps, wanted, asked).blocks} - {BEFORE}))

    def _needed(self, steps: int, wanted: Wanted, query_steps: Iterable[int]) -> Layout:
        whole = Layout(self._groups, self._queries, steps, range(steps))
        return whole.needed(self._reads, dict.fromkeys(wanted, tuple(query_steps)))

    @torch.inference_mode(False)  # training may meet a plan that a session made
    def _window(self, steps: int, wanted: Wanted, query_steps: tuple[int, ...], device: torch.device) -> WindowPlan:
        layout = self._needed(steps, wanted, query_steps)
        asked = [b for name in wanted for b in layout.blocks if b.group.name == name and b.timestep in query_steps]
        return WindowPlan(
            layout,
            torch.from_numpy(layout.timesteps().clip(min=0)).to(device),
            torch.from_numpy(read_mask(layout, self._reads)).to(device),
            _positions(asked).to(device),
            _prefix(layout),
            self._unread_queries([b.group for b in layout.blocks], device),
        )

    @torch.inference_mode(False)
    def _incremental(self, wanted: Wanted, device: torch.device) -> IncrementalPlan | None:
        """None if a longer window computes other values for earlier tokens than a shorter one.

        That is so where a token that is read later on reads ahead itself: the next timestep changes its output.
        """
        layout = self._needed(self.history, wanted, (self.history - 1,))
        mask, timesteps = read_mask(layout, self._reads), layout.timesteps()
        newest = [b for b in layout.blocks if b.timestep == self.history - 1]
        start, before = newest[0].start, sum(group.count for group in _prefix(layout))
        if (mask & (timesteps[:, None] < timesteps))[:start].any():
            return None
        cached = tuple(dict.fromkeys(b.group.name for b in layout.blocks if BEFORE < b.timestep < self.history - 1))
        return IncrementalPlan(
            tuple(b.group for b in newest),
            torch.from_numpy(mask[start:]).to(device),
            (_positions(b for name in wanted for b in newest if b.group.name == name) - start).to(device),
            cached,
            (_positions(b for b in newest if b.group.name in cached) - start).to(device),
            _prefix(layout),
            torch.from_numpy(mask[:before, :before]).to(device),
            self._unread_queries([b.group for b in newest], device),
        )

    def _unread_queries(self, groups: Sequence[TokenGroup], device: torch.device) -> Tensor:
        found = np.repeat([g.name in self._unread for g in groups], [g.count for g in groups])
        return torch.from_numpy(found).to(device)


def roles(backbone: nn.Module, queries: Tensor) -> dict[str, Tensor]:
    """What ``backbone`` is called with by keyword: ``queries``, or nothing (``Backbone.takes_queries``)."""
    return {"queries": queries} if getattr(backbone, "takes_queries", False) else {}


def _read_by_others(group: TokenGroup, groups: Sequence[TokenGroup], reads: Reads) -> bool:
    """Whether a rule lets a group other than ``group`` read it, at whatever timestep."""
    return any(
        rule is not None and group.matches(read) and any(g.matches(reader) for g in groups if g.name != group.name)
        for reader, row in reads.items()
        for read, rule in (row or {}).items()
    )


def _prefix(layout: Layout) -> tuple[TokenGroup, ...]:
    return tuple(block.group for block in layout.blocks if block.timestep == BEFORE)


def _positions(blocks: Iterable[TokenBlock]) -> Tensor:
    ranges = [np.arange(b.start, b.stop) for b in blocks]
    return torch.from_numpy(np.concatenate([np.empty(0, np.int64), *ranges]))
