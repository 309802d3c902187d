"""Causal transformer backbone as in Llama: RMSNorm, SwiGLU, rotary position embedding, grouped-query attention."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from forehand.compose.dropout import Dropout, scaled_dot_product_attention
from forehand.compose.parts import StreamingBackbone
from forehand.contracts.contract import Contract
from forehand.errors import ConfigurationError
from forehand.utils.numbers import count, positive, ratio


def rotate(x: Tensor, angles: Tensor) -> Tensor:
    """Rotary position embedding of (B, H, N, d) by (N, d/2) or (B, 1, N, d/2) angles in radians (Su et al. 2021).

    Coordinates i and i + d/2 are a plane that turns by angle i. Computed in float32.
    """
    first, second = x.float().chunk(2, dim=-1)
    cos, sin = angles.cos(), angles.sin()
    return torch.cat([first * cos - second * sin, second * cos + first * sin], dim=-1).to(x.dtype)


class GroupedQueryAttention(nn.Module):
    """Grouped-query attention (Ainslie et al. 2023): ``heads`` of queries share ``kv_heads`` of keys and values."""

    def __init__(self, dim: int, heads: int, kv_heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.kv_heads, self.dropout = heads, kv_heads, dropout
        kv_width = dim // heads * kv_heads
        self.query = nn.Linear(dim, dim, bias=False)
        self.key = nn.Linear(dim, kv_width, bias=False)
        self.value = nn.Linear(dim, kv_width, bias=False)
        self.output = nn.Linear(dim, dim, bias=False)

    def forward(self, x: Tensor, angles: Tensor, mask: Tensor, cache: Tensor | None) -> tuple[Tensor, Tensor]:
        """(B, N, D) tokens and (B, P, 2·W) rotated keys and values of earlier ones → (B, N, D), and those of the N.

        W is the width of all key heads. mask: (N, P + N) or (B, 1, N, P + N) bool.
        """
        query = rotate(self._by_head(self.query(x), self.heads), angles)
        key = rotate(self._by_head(self.key(x), self.kv_heads), angles)
        new = torch.cat([key.transpose(1, 2).flatten(2), self.value(x)], dim=-1)
        both = new if cache is None else torch.cat([cache, new], dim=1)
        k, v = (self._by_head(t, self.kv_heads) for t in both.chunk(2, dim=-1))
        if (shared := self.heads // self.kv_heads) > 1:
            k, v = k.repeat_interleave(shared, dim=1), v.repeat_interleave(shared, dim=1)
        dropout = self.dropout if self.training else 0.0
        read = scaled_dot_product_attention(query, k, v, mask, dropout)
        return self.output(read.transpose(1, 2).flatten(2)), new

    @staticmethod
    def _by_head(x: Tensor, heads: int) -> Tensor:
        return x.unflatten(-1, (heads, -1)).transpose(1, 2)


class SwiGLU(nn.Module):
    """Feed-forward network with a gated SiLU, two thirds as wide as four times its input (Shazeer 2020)."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        width = -(-8 * dim // 3 // 8) * 8
        self.gate = nn.Linear(dim, width, bias=False)
        self.up = nn.Linear(dim, width, bias=False)
        self.down = nn.Linear(width, dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(..., D) → (..., D)."""
        out: Tensor = self.down(F.silu(self.gate(x)) * self.up(x))
        return out


class CausalTransformerBlock(nn.Module):
    """Pre-norm transformer block with RMSNorm (Zhang and Sennrich 2019)."""

    def __init__(self, dim: int, heads: int, kv_heads: int, dropout: float) -> None:
        super().__init__()
        self.attention_norm = nn.RMSNorm(dim, eps=1e-6)
        self.attention = GroupedQueryAttention(dim, heads, kv_heads, dropout)
        self.feed_forward_norm = nn.RMSNorm(dim, eps=1e-6)
        self.feed_forward = SwiGLU(dim)
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor, angles: Tensor, mask: Tensor, cache: Tensor | None) -> tuple[Tensor, Tensor]:
        """(B, N, D) → (B, N, D), and the new keys and values; see :class:`GroupedQueryAttention`."""
        read, new = self.attention(self.attention_norm(x), angles, mask, cache)
        x = x + self.dropout(read)
        return x + self.dropout(self.feed_forward(self.feed_forward_norm(x))), new


class CausalTransformer(StreamingBackbone):
    """Pre-norm transformer as in Llama (Touvron et al. 2023) under the mask of the reads table.

    The position in the rotary embedding is the timestep: the tokens of one timestep share it, attention depends on the
    difference of two timesteps, and a history of any length needs no weights of its own. heads: of queries; kv_heads: of
    keys and values, a divisor of heads (default: as many). rope_theta: base of the rotary frequencies. dropout: of
    attention and residuals. Raises :class:`ConfigurationError` for heads that do not fit.
    """

    frequencies: Tensor

    def __init__(
        self,
        *,
        contract: Contract,
        dim: int,
        image_size: int,
        history: int,
        layers: int = 4,
        heads: int = 4,
        kv_heads: int | None = None,
        rope_theta: float = 10_000.0,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        counts: dict[str, Any] = {"layers": layers, "heads": heads, "kv_heads": kv_heads}
        count(**{f"causal_transformer: {name}": value for name, value in counts.items()})
        positive(**{"causal_transformer: rope_theta": rope_theta})
        ratio(**{"causal_transformer: dropout": dropout})
        kv_heads = heads if kv_heads is None else kv_heads
        if dim % (2 * heads):
            raise ConfigurationError(
                f"causal_transformer: dim {dim} must be an even number for each of the heads ({heads}); choose heads "
                f"such that 2·heads divides dim."
            )
        if heads % kv_heads:
            raise ConfigurationError(f"causal_transformer: kv_heads {kv_heads} does not divide heads {heads}.")
        head_dim = dim // heads
        self.cache_width = layers * 2 * kv_heads * head_dim
        frequencies = rope_theta ** -(torch.arange(0, head_dim, 2) / head_dim)
        self.register_buffer("frequencies", frequencies, persistent=False)
        self.blocks = nn.ModuleList(CausalTransformerBlock(dim, heads, kv_heads, dropout) for _ in range(layers))
        self.norm = nn.RMSNorm(dim, eps=1e-6)

    def forward(self, tokens: Tensor, timesteps: Tensor, mask: Tensor) -> Tensor:
        """(B, L, D) tokens, (L,) timestep of each, (L, L) or (B, L, L) bool mask → (B, L, D)."""
        return self._run(tokens, timesteps, mask, None)[0]

    def forward_cached(
        self, tokens: Tensor, timesteps: Tensor, mask: Tensor, query_index: Tensor, past: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        """See :class:`StreamingBackbone`; the cache holds rotated keys, and values, of every layer."""
        out, new = self._run(tokens, timesteps, mask, past)
        return out[:, query_index], None if past is None else torch.cat(new, dim=-1)

    def _run(self, tokens: Tensor, timesteps: Tensor, mask: Tensor, past: Tensor | None) -> tuple[Tensor, list[Tensor]]:
        """The output of all tokens, and the new keys and values of every layer."""
        angles = timesteps[..., None] * self.frequencies
        angles = angles[:, None] if angles.ndim == 3 else angles  # one for all heads
        mask = mask[:, None] if mask.ndim == 3 else mask
        caches = [None] * len(self.blocks) if past is None else past.chunk(len(self.blocks), dim=-1)
        x, new = tokens, []
        for block, cache in zip(self.blocks, caches, strict=True):
            x, added = block(x, angles, mask, cache)
            new.append(added)
        return self.norm(x), new
