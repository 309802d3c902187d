"""Token dropout: attention to random tokens is masked in training. Needs torch.

The table has a row for each reader and, in it, a ratio for each group it loses tokens of::

    action: {foresight: 0.5}

At every forward pass of training, and for each timestep's readers anew, that share of the group's tokens is hidden.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from forehand.compose.tokens import Layout, TokenGroup
from forehand.utils.numbers import ratio

TokenDropout = Mapping[str, Mapping[str, float] | None]


def check_ratios(ratios: TokenDropout) -> None:
    """Raise :class:`ConfigurationError` for a ratio that is none."""
    for reader, row in ratios.items():
        for read, share in (row or {}).items():
            ratio(**{f"policy.token_dropout.{reader}.{read}": share})


def drop_tokens(mask: Tensor, layout: Layout, ratios: TokenDropout) -> Tensor:
    """A copy of the (L, L) bool ``mask`` in which ``ratios`` of the tokens are hidden; their number is rounded down."""
    mask = mask.clone()
    groups = {block.group.name: block.group for block in layout.blocks}.values()

    def positions(group: TokenGroup) -> Tensor:
        return torch.from_numpy(layout.positions(group.name)).to(mask.device)

    for reader_key, row in ratios.items():
        for read_key, share in (row or {}).items():
            for reader in filter(lambda g: g.matches(reader_key), groups):
                for read in filter(lambda g: g.matches(read_key), groups):
                    _drop(mask, positions(reader), positions(read), int(share * read.count))
    return mask


def _drop(mask: Tensor, readers: Tensor, read: Tensor, count: int) -> None:
    """Hide ``count`` of each step's ``read`` (S, n) from each step's ``readers`` (T, m), afresh for every pair."""
    order = torch.rand(len(readers), *read.shape, device=mask.device).argsort(dim=-1)
    hidden = read.expand(len(readers), -1, -1).gather(-1, order[..., :count]).flatten(1)
    mask[readers[:, :, None], hidden[:, None]] = False
