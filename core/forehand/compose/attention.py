"""Attention of the action queries: how much of it goes to each group of tokens. Needs torch."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from forehand.compose.parts import IterativeActionHead
from forehand.compose.plans import roles
from forehand.compose.policy import ComposedPolicy
from forehand.compose.session import ComposedSession
from forehand.compose.streaming import window_of
from forehand.compose.tokens import ACTION, BEFORE


@torch.inference_mode()
def action_attention(policy: ComposedPolicy, session: ComposedSession) -> Mapping[str, float]:
    """Shares of the action queries' attention at the newest frame of ``session``, by group of tokens; they sum to 1.

    The mean over layers, heads and queries of the softmax of scaled dot products, which backbones compute by torch's
    ``scaled_dot_product_attention``. Tokens of earlier timesteps count as ``<group>, earlier``. {} where the head makes
    its tokens itself, an inverse model acts, or the backbone computes its attention otherwise.
    """
    head = policy.action_head
    if head is None or ACTION not in policy.query_parts or isinstance(head, IterativeActionHead) or not session.frames:
        return {}
    plan, sequence, mask = window_of(policy, [session], (ACTION,))
    with _Recorder() as recorder:
        policy.backbone(sequence, plan.timesteps, mask, **roles(policy.backbone, plan.queries))
    names, wanted = _names(plan.layout.blocks, len(session.frames) - 1), plan.query_index.tolist()
    allowed = (mask if mask.ndim == 2 else mask[0])[wanted]
    shares = dict.fromkeys(names, 0.0)
    for weights in recorder.weights:
        if (of := _of_queries(weights, len(names), plan.queries, wanted)) is None:
            continue
        rows, columns = of
        read = (rows.mean(dim=(0, 1)) * allowed[:, columns]).mean(dim=0)
        for column, weight in zip(columns, read.tolist(), strict=True):
            shares[names[column]] += weight
    total = sum(shares.values())
    return {name: share / total for name, share in shares.items() if share} if total else {}


def _of_queries(weights: Tensor, length: int, queries: Tensor, wanted: list[int]) -> tuple[Tensor, list[int]] | None:
    """Rows of the wanted tokens in (B, H, rows, columns), and which tokens its columns are; None where that is unknown.

    A backbone runs all tokens through one sequence, or the queries that nothing reads through a decoder of their own.
    """
    everything = list(range(length))
    apart, context = queries.nonzero()[:, 0].tolist(), (~queries).nonzero()[:, 0].tolist()
    decoder = [] if len(apart) == len(context) else [(apart, context), (apart, apart)]  # told apart by their numbers
    for rows, columns in ((everything, everything), *decoder):
        if weights.shape[-2:] == (len(rows), len(columns)) and set(wanted) <= set(rows):
            return weights[:, :, [rows.index(token) for token in wanted]], columns
    return None


def _names(blocks: Sequence[Any], newest: int) -> list[str]:
    """What each token of a layout is called."""
    return [
        f"{block.group.name}, earlier" if BEFORE < block.timestep < newest else block.group.name
        for block in blocks
        for _ in range(block.group.count)
    ]


class _Recorder(TorchFunctionMode):
    """Keeps the weights (B, H, rows, columns) of every scaled dot product attention while it is entered."""

    def __init__(self) -> None:
        super().__init__()
        self.weights: list[Tensor] = []

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        named = dict(kwargs or {})
        if func is F.scaled_dot_product_attention:
            self.weights.append(_weights(*args, **named))
        return func(*args, **named)


def _weights(
    query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None, *more: Any, **named: Any
) -> Tensor:
    if named.get("enable_gqa"):
        key = key.repeat_interleave(query.shape[-3] // key.shape[-3], dim=-3)
    scale = named.get("scale") or 1 / math.sqrt(query.shape[-1])
    scores = query.float() @ key.float().mT * scale
    if attn_mask is not None:
        scores = scores.masked_fill(~attn_mask, -math.inf) if attn_mask.dtype == torch.bool else scores + attn_mask
    return scores.softmax(dim=-1).nan_to_num()
