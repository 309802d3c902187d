"""Dropout of activations and of attention, on a CPU faster than torch's. Needs torch.

On a CPU torch draws a random number of its own for each activation, and has no fused kernel for attention with dropout.
Here four activations share a number of 64 bits, and attention with dropout takes five operations. On other devices, and
in compiled code, both are torch's.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

STEPS = 2**16
"""On a CPU a ratio is rounded to a multiple of 1 / STEPS."""


class Dropout(nn.Dropout):
    """Dropout of activations (Srivastava et al. 2014), as torch's, by :func:`dropout`."""

    def forward(self, x: Tensor) -> Tensor:
        """(...) → (...): in training the share ``p`` is 0, and the others are divided by 1 - p."""
        return dropout(x, self.p) if self.training else x


def dropout(x: Tensor, p: float) -> Tensor:
    """(...) → (...), with the share ``p`` of 0, drawn anew, and the others divided by 1 - p."""
    if not is_unfused(x, p):
        return F.dropout(x, p)
    dropped = min(round(p * STEPS), STEPS - 1)
    numbers = torch.empty(-(-x.numel() // 4), dtype=torch.int64).random_(-(2**63), None)  # with all 64 bits random
    kept = numbers.view(torch.int16)[: x.numel()].view(x.shape) >= dropped - STEPS // 2
    return x * kept.to(x.dtype).mul_(STEPS / (STEPS - dropped))


def scaled_dot_product_attention(query: Tensor, key: Tensor, value: Tensor, mask: Tensor, p: float) -> Tensor:
    """Scaled dot-product attention (Vaswani et al. 2017) under a mask, with :func:`dropout` of its weights.

    (B, H, N, E) queries, (B, H, C, E) keys and values → (B, H, N, E). mask: broadcast to (B, H, N, C), bool, True where
    a query reads; where :func:`is_unfused` is false, also what is added to the scores. A query that reads nothing yields
    0 by torch's kernels, and the mean of all values here.
    """
    if not is_unfused(query, p):
        return F.scaled_dot_product_attention(query, key, value, attn_mask=mask, dropout_p=p)
    scores = (query / math.sqrt(query.shape[-1])) @ key.mT
    lowest = torch.finfo(scores.dtype).min
    scores += torch.zeros_like(mask, dtype=scores.dtype).masked_fill_(~mask, lowest)  # filling the scores is far slower
    return dropout(scores.softmax(dim=-1), p) @ value


def is_unfused(x: Tensor, p: float) -> bool:
    """Whether dropout of ``x`` by ``p``, and attention with it, are computed here rather than by torch."""
    return 0 < p < 1 and x.device.type == "cpu" and not torch.compiler.is_compiling()
