"""Pre-norm transformer backbone with learned timestep embeddings."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from forehand.compose.dropout import Dropout, scaled_dot_product_attention
from forehand.compose.parts import StreamingBackbone
from forehand.contracts.contract import Contract
from forehand.errors import ConfigurationError
from forehand.utils.numbers import count, ratio


class Attention(nn.Module):
    """Multi-head self-attention under a mask, with cached keys and values."""

    def __init__(self, dim: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.query = nn.Linear(dim, dim)
        self.key_value = nn.Linear(dim, 2 * dim)
        self.output = nn.Linear(dim, dim)

    def forward(self, x: Tensor, mask: Tensor, cache: Tensor | None) -> tuple[Tensor, Tensor]:
        """(B, N, D) tokens and (B, P, 2D) keys and values of earlier ones → (B, N, D), and those of the N, (B, N, 2D).

        mask: (N, P + N) or (B, 1, N, P + N) bool.
        """
        new = self.key_value(x)
        return self.read(x, new if cache is None else torch.cat([cache, new], dim=1), mask), new

    def read(self, x: Tensor, key_value: Tensor, mask: Tensor) -> Tensor:
        """(B, N, D) readers, (B, C, 2D) keys and values, (N, C) or (B, 1, N, C) bool mask → (B, N, D)."""
        split = (self.query(x), *key_value.chunk(2, dim=-1))
        q, k, v = (t.unflatten(-1, (self.heads, -1)).transpose(1, 2) for t in split)
        dropout = self.dropout if self.training else 0.0
        read = scaled_dot_product_attention(q, k, v, mask, dropout)
        out: Tensor = self.output(read.transpose(1, 2).flatten(2))
        return out


class TransformerBlock(nn.Module):
    """Pre-norm transformer block: attention and a feed-forward network, each with a residual connection."""

    def __init__(self, dim: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(dim)
        self.attention = Attention(dim, heads, dropout)
        self.feed_forward_norm = nn.LayerNorm(dim)
        self.feed_forward = nn.Sequential(nn.Linear(dim, 4 * dim), nn.GELU(), nn.Linear(4 * dim, dim))
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor, mask: Tensor, cache: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """(B, N, D) → (B, N, D), and the new keys and values, (B, N, 2D); see :class:`Attention`."""
        read, new = self.attention(self.attention_norm(x), mask, cache)
        x = x + self.dropout(read)
        return x + self.dropout(self.feed_forward(self.feed_forward_norm(x))), new


def require_sizes(part: str, dim: int, heads: int, dropout: float, **counts: int) -> None:
    """Raise :class:`ConfigurationError` for ``counts``, heads or a dropout of a backbone that cannot be."""
    count(**{f"{part}: {name}": value for name, value in {**counts, "heads": heads}.items()})
    ratio(**{f"{part}: dropout": dropout})
    if dim % heads:
        raise ConfigurationError(f"{part}: dim {dim} is not divisible by heads {heads}.")


class Transformer(StreamingBackbone):
    """Transformer encoder over the tokens of all timesteps (Vaswani et al. 2017; pre-norm as in Xiong et al. 2020).

    history: T, the number of timesteps that have a learned embedding. dropout: of attention and residuals.
    """

    def __init__(
        self,
        *,
        contract: Contract,
        dim: int,
        image_size: int,
        history: int,
        layers: int = 4,
        heads: int = 4,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        require_sizes("transformer", dim, heads, dropout, layers=layers)
        self.cache_width = layers * 2 * dim
        self.timestep_embedding = nn.Parameter(torch.randn(history, dim) * 0.02)
        self.blocks = nn.ModuleList(TransformerBlock(dim, heads, dropout) for _ in range(layers))
        self.norm = nn.LayerNorm(dim)

    def truncate_history(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Keeps the embeddings of the first timesteps."""
        name, history = "timestep_embedding", len(self.timestep_embedding)
        return {**weights, name: weights[name][:history]} if name in weights else dict(weights)

    def forward(self, tokens: Tensor, timesteps: Tensor, mask: Tensor) -> Tensor:
        """(B, L, D) tokens, (L,) timestep of each, (L, L) or (B, L, L) bool mask → (B, L, D)."""
        return self._run(tokens, timesteps, mask, None)[0]

    def forward_cached(
        self, tokens: Tensor, timesteps: Tensor, mask: Tensor, query_index: Tensor, past: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        """See :class:`StreamingBackbone`; the cache holds keys and values of every layer."""
        out, new = self._run(tokens, timesteps, mask, past)
        return out[:, query_index], None if past is None else torch.cat(new, dim=-1)

    def _run(self, tokens: Tensor, timesteps: Tensor, mask: Tensor, past: Tensor | None) -> tuple[Tensor, list[Tensor]]:
        """The output of all tokens, and the new keys and values of every layer."""
        x = tokens + self.timestep_embedding[timesteps]
        mask = mask[:, None] if mask.ndim == 3 else mask  # one for all heads
        caches = [None] * len(self.blocks) if past is None else past.chunk(len(self.blocks), dim=-1)
        new = []
        for block, cache in zip(self.blocks, caches, strict=True):
            x, added = block(x, mask, cache)
            new.append(added)
        return self.norm(x), new
