"""Validity of tokens: groups whose tokens are not always all there, as sentences of different lengths. Needs torch."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from forehand.compose.tokens import Layout


def hide_invalid(mask: Tensor, valid: Tensor) -> Tensor:
    """The ``mask`` of each row of a batch, in which no token reads one that is not valid.

    mask: (N, P + N) or (B, N, P + N) bool, True: row reads column; the columns end with the rows' own tokens. valid:
    (B, P + N) bool. Returns (B, N, P + N). A token that nothing is left to reads itself, so that its output is finite.
    """
    hidden = mask & valid[:, None]
    rows, columns = hidden.shape[-2:]
    own = torch.eye(rows, columns, dtype=torch.bool, device=mask.device).roll(columns - rows, dims=1)
    return hidden | (own & ~hidden.any(dim=-1, keepdim=True))


def layout_validity(layout: Layout, valid: Mapping[str, Tensor]) -> Tensor:
    """Which tokens of a layout are there, (B, L) bool, from (B, T, count) of those groups that say; all of the others."""
    some = next(iter(valid.values()))
    columns = [
        valid[b.group.name][:, b.timestep]
        if b.group.name in valid
        else torch.ones(len(some), b.group.count, dtype=torch.bool, device=some.device)
        for b in layout.blocks
    ]
    return torch.cat(columns, dim=1)
