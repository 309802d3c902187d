"""Encoder-decoder transformer backbone: observations are encoded, and queries read them by cross-attention."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from forehand.compose.dropout import Dropout
from forehand.compose.parts import StreamingBackbone
from forehand.contracts.contract import Contract
from forehand_plugins.backbones.transformer import Attention, TransformerBlock, require_sizes


class DecoderBlock(nn.Module):
    """Pre-norm decoder block: self-attention, cross-attention and a feed-forward network, each with a residual."""

    def __init__(self, dim: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.self_norm = nn.LayerNorm(dim)
        self.self_attention = Attention(dim, heads, dropout)
        self.cross_norm = nn.LayerNorm(dim)
        self.cross_attention = Attention(dim, heads, dropout)
        self.feed_forward_norm = nn.LayerNorm(dim)
        self.feed_forward = nn.Sequential(nn.Linear(dim, 4 * dim), nn.GELU(), nn.Linear(4 * dim, dim))
        self.dropout = Dropout(dropout)

    def forward(
        self, x: Tensor, encoded: Tensor, past: Tensor, self_mask: Tensor, cross_mask: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """(B, A, D) queries and (B, C, D) output of the encoder → (B, A, D).

        past: (B, P, 2D), keys and values of earlier tokens, of both kinds. self_mask: (B or 1, 1, A, P + A) bool;
        cross_mask: (B or 1, 1, A, P + C) bool. Also returns keys and values of cross-attention, (B, C, 2D), and those of
        self-attention, (B, A, 2D).
        """
        memory = self.cross_attention.key_value(encoded)
        normed = self.self_norm(x)
        new = self.self_attention.key_value(normed)
        x = x + self.dropout(_read(self.self_attention, normed, torch.cat([past, new], dim=1), self_mask))
        both = torch.cat([past, memory], dim=1)
        x = x + self.dropout(_read(self.cross_attention, self.cross_norm(x), both, cross_mask))
        return x + self.dropout(self.feed_forward(self.feed_forward_norm(x))), memory, new


def _read(attention: Attention, x: Tensor, key_value: Tensor, mask: Tensor) -> Tensor:
    """What (B, A, D) queries read; 0 for one that may read nothing."""
    if not key_value.shape[1]:
        return torch.zeros_like(x)
    some = mask.any(dim=-1, keepdim=True)
    return attention.read(x, key_value, mask | ~some) * some[:, 0]


class EncoderDecoder(StreamingBackbone):
    """Transformer encoder and decoder as in ACT (Zhao et al. 2023); pre-norm as in Xiong et al. 2020.

    The encoder computes the tokens of every group that another group reads: observations, and the foresight that actions
    read. The decoder computes the other queries: they read each other by self-attention and the encoder's output by
    cross-attention, each where the reads table allows it. history: T, the number of timesteps that have a learned
    embedding. layers: of the encoder (ACT: 4, at dim 512 with 8 heads); decoder_layers (ACT: 7). dropout: of attention
    and residuals.
    """

    takes_queries = True

    def __init__(
        self,
        *,
        contract: Contract,
        dim: int,
        image_size: int,
        history: int,
        layers: int = 4,
        decoder_layers: int = 1,
        heads: int = 4,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        require_sizes("encoder_decoder", dim, heads, dropout, layers=layers, decoder_layers=decoder_layers)
        self.cache_width = (layers + decoder_layers) * 2 * dim + 1
        self.timestep_embedding = nn.Parameter(torch.randn(history, dim) * 0.02)
        self.encoder = nn.ModuleList(TransformerBlock(dim, heads, dropout) for _ in range(layers))
        self.encoder_norm = nn.LayerNorm(dim)
        self.decoder = nn.ModuleList(DecoderBlock(dim, heads, dropout) for _ in range(decoder_layers))
        self.decoder_norm = nn.LayerNorm(dim)

    def truncate_history(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Keeps the embeddings of the first timesteps."""
        name, history = "timestep_embedding", len(self.timestep_embedding)
        return {**weights, name: weights[name][:history]} if name in weights else dict(weights)

    def forward(self, tokens: Tensor, timesteps: Tensor, mask: Tensor, queries: Tensor | None = None) -> Tensor:
        """(B, L, D) tokens, (L,) timestep of each, (L, L) or (B, L, L) bool mask → (B, L, D).

        queries: (L,) bool, which tokens the decoder computes; only such tokens may read them. Default: none.
        """
        return self._run(tokens, timesteps, mask, None, queries)[0]

    def forward_cached(
        self,
        tokens: Tensor,
        timesteps: Tensor,
        mask: Tensor,
        query_index: Tensor,
        past: Tensor | None,
        queries: Tensor | None = None,
    ) -> tuple[Tensor, Tensor | None]:
        """See :class:`StreamingBackbone`; queries: (N,) bool, as in :meth:`forward`.

        The cache of a token holds its keys and values in every layer of the encoder (0 for a query); in every layer of
        the decoder those of its cross-attention, or of its self-attention for a query; and 1 for a query, else 0.
        """
        out, new = self._run(tokens, timesteps, mask, past, queries)
        return out[:, query_index], None if past is None else new

    def _run(
        self, tokens: Tensor, timesteps: Tensor, mask: Tensor, past: Tensor | None, queries: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        """(B, N, D) output of all tokens, and their cache, (B, N, M), or None without a past."""
        x = tokens + self.timestep_embedding[timesteps]
        if queries is None:
            queries = torch.zeros(x.shape[1], dtype=torch.bool, device=x.device)
        observed, decoded = (~queries).nonzero()[:, 0], queries.nonzero()[:, 0]
        before = x.new_empty(len(x), 0, self.cache_width) if past is None else past
        *layers, is_query = before.split([2 * x.shape[-1]] * (len(self.encoder) + len(self.decoder)) + [1], dim=-1)
        memory_mask, query_mask = _split_columns(mask, is_query[..., 0] > 0.5, observed, decoded)

        encoded, query, of_encoded, of_queries = x[:, observed], x[:, decoded], [], []
        for block in self.encoder:
            encoded, new = block(encoded, memory_mask[:, :, observed], layers.pop(0))
            of_encoded.append(new)
            of_queries.append(new.new_zeros(*query.shape[:2], new.shape[-1]))
        encoded = self.encoder_norm(encoded)
        for block in self.decoder:
            query, memory, new = block(
                query, encoded, layers.pop(0), query_mask[:, :, decoded], memory_mask[:, :, decoded]
            )
            of_encoded.append(memory)
            of_queries.append(new)

        order = torch.cat([observed, decoded]).argsort()
        out = torch.cat([encoded, self.decoder_norm(query)], dim=1)[:, order]
        if past is None:
            return out, None
        of_encoded.append(encoded.new_zeros(*encoded.shape[:2], 1))
        of_queries.append(query.new_ones(*query.shape[:2], 1))
        return out, torch.cat([torch.cat(of_encoded, dim=-1), torch.cat(of_queries, dim=-1)], dim=1)[:, order]


def _split_columns(mask: Tensor, queries_before: Tensor, observed: Tensor, decoded: Tensor) -> tuple[Tensor, Tensor]:
    """Masks of what is read of the encoder's tokens, and of what is read of queries.

    mask: (N, P + N) or (B, N, P + N) bool; queries_before: (B, P) bool, which of the earlier tokens are queries. Returns
    (1 or B, 1, N, P + number of observed) and (1 or B, 1, N, P + number of decoded) bool.
    """
    mask = mask[:, None] if mask.ndim == 3 else mask[None, None]
    before, new = mask.split([queries_before.shape[1], mask.shape[-2]], dim=-1)
    if not queries_before.shape[1]:
        return new[..., observed], new[..., decoded]
    new = new.expand(len(queries_before), -1, -1, -1)
    kind = queries_before[:, None, None]
    memory, queries = (
        torch.cat([before & ~kind, new[..., observed]], -1),
        torch.cat([before & kind, new[..., decoded]], -1),
    )
    return memory, queries
