"""Incremental backbone inference: the newest frames of many sessions as one batch. Needs torch."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from forehand.compose.composition import Composition, arrange
from forehand.compose.parts import VALID, IterativeActionHead, StreamingBackbone
from forehand.compose.plans import IncrementalPlan, Wanted, WindowPlan, roles
from forehand.compose.session import ComposedSession
from forehand.compose.validity import hide_invalid, layout_validity


class NewestReadouts:
    """What the wanted queries have read at the newest frame of each session.

    ``readouts``: group name → (B, count, D); that of an iterative action head is not among them: :meth:`read` asks the
    backbone for it, over the context that was computed once.
    """

    def __init__(self, composition: Composition, sessions: Sequence[ComposedSession], wanted: Wanted) -> None:
        runs = _runs(composition, sessions, wanted)
        counts = {name: composition.query_parts[name].group.count for name in wanted}
        head = composition.action_head
        if isinstance(head, IterativeActionHead) and head.group.name in counts:
            del counts[head.group.name]
            self._contexts = [_Context(composition, run, head.group.count) for run in runs]
            outputs = [context.output for context in self._contexts]
        else:
            outputs = [_run(composition, run) for run in runs]
        self._members = [run.members for run in runs]
        order = torch.tensor([i for members in self._members for i in members])
        self._order = order.argsort().to(composition.device)
        self.readouts: dict[str, Tensor] = {}
        if counts:
            split = torch.cat(outputs)[self._order].split(list(counts.values()), dim=1)
            self.readouts = dict(zip(counts, split, strict=True))

    def read(self, tokens: Tensor) -> Tensor:
        """The output of an iterative action head's ``tokens``, (B, count, D) → (B, count, D)."""
        read = [c.read(tokens[m]) for c, m in zip(self._contexts, self._members, strict=True)]
        return torch.cat(read)[self._order]


@dataclass(frozen=True)
class _Run:
    """New tokens of some sessions, the ``members`` of a batch, behind the cache of earlier ones.

    tokens: (B, N, D); timesteps: (N,) or (B, N); mask: (N, P + N) or (B, N, P + N); query_index: (A,) of the N;
    queries: (N,) bool, those that no other group reads; past: (B, P, M), or None without a cache. plan: what each session
    caches of the new tokens.
    """

    members: list[int]
    sessions: list[ComposedSession]
    tokens: Tensor
    timesteps: Tensor
    mask: Tensor
    query_index: Tensor
    queries: Tensor
    past: Tensor | None
    plan: IncrementalPlan | None = None

    def keep(self, composition: Composition, newest: Tensor | None) -> None:
        """Let the sessions keep the cache of the new tokens that later timesteps will read."""
        if self.plan is not None:
            assert newest is not None
            for session, cache in zip(self.sessions, newest, strict=True):
                session.append_cache(cache[self.plan.cached_index], self.plan.cached_groups, composition.history)


def _runs(composition: Composition, sessions: Sequence[ComposedSession], wanted: Wanted) -> list[_Run]:
    """Sessions that can be computed together.

    Those whose window grows use their cache, in one run whatever their age. Where that would not be exact, and once the
    window slides (each frame then stands at another timestep than before), those of equal length are run whole.
    """
    streams = isinstance(composition.backbone, StreamingBackbone)
    plan = composition.plans.incremental(wanted, composition.device) if streams else None
    growing: list[int] = []
    whole: dict[tuple[int, int], list[int]] = defaultdict(list)
    for i, session in enumerate(sessions):
        cached = plan is not None and session.has_cache(plan.cached_groups)
        (growing if cached else whole[len(session.frames), len(session.ahead)]).append(i)
    runs = [_whole(composition, members, [sessions[i] for i in members], wanted) for members in whole.values()]
    if plan is not None and growing:
        runs.append(_growing(composition, growing, [sessions[i] for i in growing], plan))
    return runs


def window_of(
    composition: Composition, sessions: Sequence[ComposedSession], wanted: Wanted
) -> tuple[WindowPlan, Tensor, Tensor]:
    """All frames of sessions of equal length: their plan, their sequence (B, L, D), and its mask, (L, L) or (B, L, L)."""
    newest, ahead = len(sessions[0].frames) - 1, len(sessions[0].ahead)
    plan = composition.plans.window(newest + 1 + ahead, wanted, (newest,), composition.device)
    observed = {b.group.name for b in plan.layout.blocks} - set(composition.query_parts)
    prefix = {group.name for group in plan.prefix}

    def stacked(name: str) -> Tensor:
        return torch.stack([s.newest(name) if name in prefix else s.tokens(name) for s in sessions])

    tokens = {name: stacked(name) for name in observed}
    sequence, mask = arrange(plan.layout, tokens, composition.query_parts), plan.mask
    if valid := {name: stacked(VALID + name) for name in observed if sessions[0].has(VALID + name)}:
        mask = hide_invalid(mask, layout_validity(plan.layout, valid))
    return plan, sequence, mask


def _whole(composition: Composition, members: list[int], sessions: list[ComposedSession], wanted: Wanted) -> _Run:
    """All frames of sessions of equal length, behind the cache of the episode's tokens if there are any."""
    plan, sequence, mask = window_of(composition, sessions, wanted)
    prefix = {group.name for group in plan.prefix}
    timesteps, query_index, queries = plan.timesteps, plan.query_index, plan.queries
    if not (prefix and isinstance(composition.backbone, StreamingBackbone)):
        return _Run(members, sessions, sequence, timesteps, mask, query_index, queries, None)
    ahead = sum(group.count for group in plan.prefix)
    past = _prefixes(composition, sessions, plan, plan.mask[:ahead, :ahead])
    sequence, timesteps, mask = sequence[:, ahead:], timesteps[ahead:], mask[..., ahead:, :]
    return _Run(members, sessions, sequence, timesteps, mask, query_index - ahead, queries[ahead:], past)


def _growing(
    composition: Composition, members: list[int], sessions: list[ComposedSession], plan: IncrementalPlan
) -> _Run:
    """The newest frame of each session, behind the cache of its earlier ones and of the episode's tokens."""
    backbone, queries = composition.backbone, composition.query_parts
    assert isinstance(backbone, StreamingBackbone)
    batch, new, cached = len(sessions), len(plan.mask), len(plan.cached_index)
    tokens = [
        queries[g.name].queries.expand(batch, -1, -1)
        if g.name in queries
        else torch.cat([s.newest(g.name) for s in sessions])
        for g in plan.new_groups
    ]
    # Sessions are of different ages: the cache of the younger ones is padded in front, where no token reads.
    ages = torch.tensor([len(s.cached) for s in sessions])
    past = pad_sequence([s.cache(backbone.cache_width) for s in sessions], batch_first=True, padding_side="left")
    padding = (int(ages.max()) - ages) * cached
    earlier = torch.arange(past.shape[1]) >= padding[:, None]
    readable = torch.cat([earlier, torch.ones(batch, new, dtype=torch.bool)], dim=1).to(plan.mask.device)
    mask = plan.mask[:, plan.mask.shape[1] - past.shape[1] - new :]
    if plan.prefix:
        ahead = plan.prefix_mask.shape[0]
        past = torch.cat([_prefixes(composition, sessions, plan, plan.prefix_mask), past], dim=1)
        mask = torch.cat([plan.mask[:, :ahead], mask], dim=1)
        readable = torch.cat([readable.new_ones(batch, ahead), readable], dim=1)
    mask = mask & readable[:, None]
    if any(s.has(VALID + name) for s in sessions[:1] for name in _observed(plan, composition)):
        mask = hide_invalid(mask, torch.stack([_validity(s, plan, past.shape[1] + new) for s in sessions]))
    timesteps = ages[:, None].expand(-1, new).to(mask.device)
    sequence = torch.cat(tokens, dim=1)
    return _Run(members, sessions, sequence, timesteps, mask, plan.query_index, plan.queries, past, plan)


def _observed(plan: IncrementalPlan, composition: Composition) -> list[str]:
    names = [*(g.name for g in (*plan.prefix, *plan.new_groups)), *plan.cached_groups]
    return [name for name in dict.fromkeys(names) if name not in composition.query_parts]


def _validity(session: ComposedSession, plan: IncrementalPlan, length: int) -> Tensor:
    """Which of the cached tokens and of the new ones are there, (``length``,); what pads the cache is not."""
    counts = {group.name: group.count for group in plan.new_groups}
    steps = range(len(session.cached))
    ahead = [session.valid(group.name, group.count) for group in plan.prefix]
    earlier = [session.valid(name, counts[name], t) for t in steps for name in plan.cached_groups]
    newest = [session.valid(group.name, group.count) for group in plan.new_groups]
    missing = length - sum(len(part) for part in (*ahead, *earlier, *newest))
    padding = torch.zeros(missing, dtype=torch.bool, device=plan.mask.device)
    return torch.cat([*ahead, padding, *earlier, *newest])


def _prefixes(
    composition: Composition, sessions: Sequence[ComposedSession], plan: WindowPlan | IncrementalPlan, mask: Tensor
) -> Tensor:
    """The cache of the episode's tokens of each session, (B, E, M), computed once an instruction."""
    backbone = composition.backbone
    assert isinstance(backbone, StreamingBackbone)
    names = tuple(group.name for group in plan.prefix)
    if fresh := [s for s in sessions if s.prefix is None or s.prefix_groups != names]:
        tokens = torch.cat([torch.cat([s.newest(name) for s in fresh]) for name in names], dim=1)
        if any(s.has(VALID + name) for s in fresh[:1] for name in names):
            mask = hide_invalid(
                mask, torch.stack([torch.cat([s.valid(g.name, g.count) for g in plan.prefix]) for s in fresh])
            )
        start = torch.zeros(tokens.shape[1], dtype=torch.long, device=tokens.device)
        nothing = tokens.new_empty(len(fresh), 0, backbone.cache_width)
        extra = roles(backbone, torch.zeros_like(start, dtype=torch.bool))
        _, cache = backbone.forward_cached(tokens, start, mask, start[:1], nothing, **extra)
        assert cache is not None
        for session, its in zip(fresh, cache, strict=True):
            session.prefix, session.prefix_groups = its, names
    return torch.stack([s.prefix for s in sessions if s.prefix is not None])


def _run(composition: Composition, run: _Run) -> Tensor:
    """(B, A, D), the output of the wanted queries."""
    backbone = composition.backbone
    extra = roles(backbone, run.queries)
    if isinstance(backbone, StreamingBackbone):
        out, newest = backbone.forward_cached(run.tokens, run.timesteps, run.mask, run.query_index, run.past, **extra)
        run.keep(composition, newest)
        return out
    whole: Tensor = backbone(run.tokens, run.timesteps, run.mask, **extra)
    return whole[:, run.query_index]


class _Context:
    """What an iterative action head's tokens, the last ``count`` of a run, read: computed once, asked several times.

    ``output``: of the other wanted queries, (B, A - count, D).
    """

    def __init__(self, composition: Composition, run: _Run, count: int) -> None:
        self._backbone, self._run, self._count = composition.backbone, run, count
        self._mine = torch.arange(count, device=run.tokens.device)
        self._context = run.tokens[:, :-count]
        others = run.query_index[:-count]
        timesteps, mask = run.timesteps[..., :-count], run.mask[..., :-count, :-count]
        extra = roles(self._backbone, run.queries[:-count])
        if isinstance(self._backbone, StreamingBackbone):
            empty = self._context.new_empty(len(self._context), 0, self._backbone.cache_width)
            past = empty if run.past is None else run.past
            out, newest = self._backbone.forward_cached(
                self._context, timesteps, mask, others if len(others) else self._mine[:1], past, **extra
            )
            assert newest is not None
            self.output = out[:, : len(others)]
            self._past = torch.cat([past, newest], dim=1)
            run.keep(composition, newest)
        else:
            self.output = self._backbone(self._context, timesteps, mask, **extra)[:, others]

    def read(self, tokens: Tensor) -> Tensor:
        """(B, count, D) → (B, count, D)."""
        run = self._run
        if isinstance(self._backbone, StreamingBackbone):
            timesteps, mask = run.timesteps[..., -self._count :], run.mask[..., -self._count :, :]
            extra = roles(self._backbone, run.queries[-self._count :])
            return self._backbone.forward_cached(tokens, timesteps, mask, self._mine, self._past, **extra)[0]
        extra = roles(self._backbone, run.queries)
        whole: Tensor = self._backbone(torch.cat([self._context, tokens], dim=1), run.timesteps, run.mask, **extra)
        return whole[:, -self._count :]
