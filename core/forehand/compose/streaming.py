"""Running a backbone for the newest frame of each of many sessions. Needs torch."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from forehand.compose.parts import ActionHead, Backbone, StreamingBackbone, WorldModel
from forehand.compose.plans import GrowthPlan, Plans, Wanted
from forehand.compose.session import ComposedSession
from forehand.compose.tokens import Layout

Queries = Mapping[str, WorldModel | ActionHead]
"""The parts that own query tokens, by the name of their group."""


def arrange(layout: Layout, tokens: Mapping[str, Tensor], queries: Queries) -> Tensor:
    """The sequence of a layout, (B, L, D), from the tokens of each group, (B, T, count, D), and learned queries."""
    batch = len(next(iter(tokens.values())))
    by_step = {name: values.unbind(1) for name, values in tokens.items()}
    learned = {name: part.queries.expand(batch, -1, -1) for name, part in queries.items()}
    blocks = [(b.group.name, b.timestep) for b in layout.blocks]
    return torch.cat([learned[name] if name in learned else by_step[name][step] for name, step in blocks], dim=1)


class Streaming:
    """Asks the queries at the newest frame of each session what they have read.

    Sessions whose window grows go on from what they remember, in one run whatever their age. Where that would not be
    exact, and once the window slides (each frame then stands at another timestep than before), sessions of equal length
    are run whole.
    """

    def __init__(self, backbone: Backbone, plans: Plans, queries: Queries) -> None:
        self.backbone, self.plans, self.queries = backbone, plans, queries

    def __call__(self, sessions: Sequence[ComposedSession], wanted: Wanted, device: torch.device) -> dict[str, Tensor]:
        """Group name → (B, count, D), in the order of the sessions."""
        growth = self.plans.growth(wanted, device) if isinstance(self.backbone, StreamingBackbone) else None
        growing: list[int] = []
        whole: dict[int, list[int]] = defaultdict(list)
        for i, session in enumerate(sessions):
            remembers = growth is not None and session.remembers(growth.kept)
            (growing if remembers else whole[len(session.frames)]).append(i)

        answers = [self._run([sessions[i] for i in members], wanted, device) for members in whole.values()]
        if growth is not None and growing:
            answers.append(self._grow([sessions[i] for i in growing], growth, device))
        order = torch.tensor([*(i for members in whole.values() for i in members), *growing])
        readout = torch.cat(answers)[order.argsort().to(device)]
        counts = [self.queries[name].group.count for name in wanted]
        return dict(zip(wanted, readout.split(counts, dim=1), strict=True))

    def _run(self, sessions: Sequence[ComposedSession], wanted: Wanted, device: torch.device) -> Tensor:
        """(B, A, D) from all frames of sessions of equal length."""
        steps = len(sessions[0].frames)
        plan = self.plans.window(steps, wanted, (steps - 1,), device)
        observed = {b.group.name for b in plan.layout.blocks} - set(self.queries)
        tokens = {name: torch.stack([s.tokens(name) for s in sessions]) for name in observed}
        sequence = arrange(plan.layout, tokens, self.queries)
        if isinstance(self.backbone, StreamingBackbone):
            return self.backbone.extend(sequence, plan.timesteps, plan.mask, plan.answering, past=None)[0]
        out: Tensor = self.backbone(sequence, plan.timesteps, plan.mask)
        return out[:, plan.answering]

    def _grow(self, sessions: Sequence[ComposedSession], plan: GrowthPlan, device: torch.device) -> Tensor:
        """(B, A, D) from the newest frame of each session and what its earlier ones have left behind."""
        assert isinstance(self.backbone, StreamingBackbone)
        batch, new, kept = len(sessions), len(plan.mask), len(plan.remembered)
        tokens = [
            self.queries[g.name].queries.expand(batch, -1, -1)
            if g.name in self.queries
            else torch.cat([s.tokens(g.name)[-1:] for s in sessions])
            for g in plan.newest
        ]
        # Sessions are of different ages: the past of the younger ones is padded in front, where nobody reads.
        ages = torch.tensor([len(s.memory) for s in sessions])
        past = pad_sequence([s.past(self.backbone.memory) for s in sessions], batch_first=True, padding_side="left")
        padding = (int(ages.max()) - ages) * kept
        mask = plan.mask[:, plan.mask.shape[1] - past.shape[1] - new :].repeat(batch, 1, 1)
        mask &= torch.arange(mask.shape[2], device=device) >= padding[:, None, None].to(device)
        timesteps = ages[:, None].expand(-1, new).to(device)
        out, left = self.backbone.extend(torch.cat(tokens, dim=1), timesteps, mask, plan.answering, past)
        assert left is not None
        for session, leaves in zip(sessions, left, strict=True):
            session.remember(leaves[plan.remembered], plan.kept, self.plans.history)
        return out
