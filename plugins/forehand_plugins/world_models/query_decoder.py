"""Decoder from query tokens to a grid of tokens, which attend to what the queries have read."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from forehand.errors import ConfigurationError

MAPS = 8
"""Linear maps of the queries at each position; with attention alone, what is where is learned slowly."""


class CrossAttentionBlock(nn.Module):
    """Pre-norm transformer block whose tokens attend to others, not to each other (Vaswani et al. 2017)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.attention = nn.MultiheadAttention(width, heads, batch_first=True)
        self.mlp = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, tokens: Tensor, read: Tensor) -> Tensor:
        """(N, P, width) tokens and what they attend to, (N, F, width) → (N, P, width)."""
        tokens = tokens + self.attention(self.norm(tokens), read, read, need_weights=False)[0]
        out: Tensor = tokens + self.mlp(tokens)
        return out


class QueryDecoder(nn.Module):
    """Tokens at P positions and K horizons for each camera, from that camera's own F queries; cameras share the weights.

    As in the decoder of a masked autoencoder (He et al. 2022), each token begins as a learned one for its position and
    horizon. Added to it are :data:`MAPS` linear maps of the queries. Then it attends to the queries only, so that the
    cost grows with P · F.

    part: for errors. dim: D, the width of the queries. queries: F. positions: P. horizons: K. width: of the tokens.
    """

    def __init__(
        self, part: str, *, dim: int, queries: int, positions: int, horizons: int, width: int, layers: int, heads: int
    ) -> None:
        super().__init__()
        if width % heads:
            raise ConfigurationError(f"{part}: width {width} must be a multiple of its {heads} heads.")
        if min(queries, layers) < 1:
            raise ConfigurationError(f"{part}: queries and layers must be 1 or more, not {queries} and {layers}.")
        self.project = nn.Linear(dim, width)
        self.query_positions = nn.Parameter(torch.randn(queries, width) * 0.02)
        self.positions = nn.Parameter(torch.randn(positions, width) * 0.02)
        self.horizons = nn.Parameter(torch.randn(horizons, 1, width) * 0.02)
        self.maps = nn.Linear(queries * dim, horizons * positions * MAPS)
        self.enter = nn.Linear(MAPS, width)
        self.norm = nn.LayerNorm(width)
        self.blocks = nn.ModuleList(CrossAttentionBlock(width, heads) for _ in range(layers))
        self.norm_out = nn.LayerNorm(width)

    def forward(self, readout: Tensor) -> Tensor:
        """(..., C·F, D) readout of C cameras → (..., C, K, P, width)."""
        queries = len(self.query_positions)
        by_camera = readout.reshape(-1, queries, readout.shape[-1])
        read = self.norm(self.project(by_camera) + self.query_positions)
        maps = self.maps(by_camera.flatten(1)).unflatten(1, (-1, MAPS))
        tokens = (self.positions + self.horizons).flatten(0, 1) + self.enter(maps)
        for block in self.blocks:
            tokens = block(tokens, read)
        cameras = readout.shape[-2] // queries
        shape = (*readout.shape[:-2], cameras, len(self.horizons), *self.positions.shape)
        out: Tensor = self.norm_out(tokens).reshape(shape)
        return out
