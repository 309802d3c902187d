"""Denoising transformer: the network of action heads that make a chunk of actions from noise."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from forehand.errors import ConfigurationError

SHORTEST, LONGEST = 4e-3, 4.0
"""Periods of the time embedding's sinusoids, for times from 0 to 1 (Black et al. 2024)."""


class TimeEmbedding(nn.Module):
    """Sinusoidal embedding of a time between 0 and 1 (Vaswani et al. 2017; periods as in Black et al. 2024)."""

    frequencies: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        if width % 2:
            raise ConfigurationError(f"a time embedding needs an even width, not {width}.")
        periods = torch.logspace(math.log10(SHORTEST), math.log10(LONGEST), width // 2)
        self.register_buffer("frequencies", 2 * math.pi / periods, persistent=False)

    def forward(self, times: Tensor) -> Tensor:
        """(...) → (..., width)."""
        angles = times[..., None] * self.frequencies
        return torch.cat([angles.sin(), angles.cos()], dim=-1)


class DenoisingBlock(nn.Module):
    """Transformer block with adaptive layer norm, the identity at first (adaLN-Zero, Peebles & Xie 2023)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.query_key_value = nn.Linear(width, 3 * width)
        self.output = nn.Linear(width, width)
        self.feed_forward = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
        self.modulation = nn.Sequential(nn.SiLU(), nn.Linear(width, 6 * width))
        for parameter in self.modulation.parameters():
            nn.init.zeros_(parameter)

    def forward(self, x: Tensor, condition: Tensor, mask: Tensor | None) -> Tensor:
        """(N, H, W) tokens and their conditions, and an (N, 1, H, H) bool mask → (N, H, W)."""
        shift_a, scale_a, gate_a, shift_f, scale_f, gate_f = self.modulation(condition).chunk(6, dim=-1)
        qkv = self.query_key_value(self.norm(x) * (1 + scale_a) + shift_a)
        q, k, v = (t.unflatten(-1, (self.heads, -1)).transpose(1, 2) for t in qkv.chunk(3, dim=-1))
        read = F.scaled_dot_product_attention(q, k, v, attn_mask=mask).transpose(1, 2).flatten(2)
        x = x + gate_a * self.output(read)
        return x + gate_f * self.feed_forward(self.norm(x) * (1 + scale_f) + shift_f)


class DenoisingTransformer(nn.Module):
    """Diffusion transformer (DiT, Peebles & Xie 2023) over the actions of a chunk, one token for each.

    Each token is conditioned on the time and on what the query of its action has read. ``width`` W, ``layers`` and
    ``heads`` are the transformer's; ``chunk`` H, ``action_size`` A and ``dim`` D the shapes of what it works on.
    """

    def __init__(self, dim: int, action_size: int, chunk: int, width: int, layers: int, heads: int) -> None:
        super().__init__()
        if width % heads or width % 2:
            raise ConfigurationError(
                f"width {width} of the denoising network must be even, and divisible by heads {heads}."
            )
        self.enter = nn.Linear(action_size, width)
        self.position = nn.Parameter(torch.randn(chunk, width) * 0.02)
        self.context = nn.Linear(dim, width)
        self.time = nn.Sequential(TimeEmbedding(width), nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width))
        self.blocks = nn.ModuleList(DenoisingBlock(width, heads) for _ in range(layers))
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.modulation = nn.Sequential(nn.SiLU(), nn.Linear(width, 2 * width))
        self.leave = nn.Linear(width, action_size)

    def forward(self, noisy: Tensor, times: Tensor, readout: Tensor, valid: Tensor | None = None) -> Tensor:
        """(N, S, H, A) noisy actions, S for each readout, at (N, S) times, and (N, H, D) readout → (N, S, H, A).

        valid: (N, H) bool, the actions that those of their chunk may read; all of them where it is None.
        """
        samples = noisy.shape[1]
        context = self.context(readout)[:, None]
        x = self.enter(noisy) + self.position + context
        condition = context + self.time(times)[:, :, None]
        mask = None
        if valid is not None:
            itself = torch.eye(valid.shape[1], dtype=torch.bool, device=valid.device)
            mask = (valid[:, None] | itself).repeat_interleave(samples, dim=0)[:, None]
        x, condition = x.flatten(0, 1), condition.flatten(0, 1)
        for block in self.blocks:
            x = block(x, condition, mask)
        shift, scale = self.modulation(condition).chunk(2, dim=-1)
        out: Tensor = self.leave(self.norm(x) * (1 + scale) + shift)
        return out.unflatten(0, (-1, samples))
