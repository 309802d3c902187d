"""Vision transformer components: patches, sin-cos embeddings and blocks."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def patchify(images: Tensor, size: int) -> Tensor:
    """(..., H, W, C) → (..., patches, size·size·C): patches row by row, pixels in row, column, channel order."""
    *lead, height, width, channels = images.shape
    grid = images.reshape(*lead, height // size, size, width // size, size, channels)
    return grid.transpose(-4, -3).reshape(*lead, (height // size) * (width // size), size * size * channels)


def unpatchify(patches: Tensor, size: int) -> Tensor:
    """The inverse of :func:`patchify` for square images of three channels."""
    *lead, count, _ = patches.shape
    side = math.isqrt(count)
    grid = patches.reshape(*lead, side, side, size, size, 3)
    return grid.transpose(-4, -3).reshape(*lead, side * size, side * size, 3)


def sincos_table(dim: int, side: int) -> Tensor:
    """Fixed embeddings of a ``side`` × ``side`` grid, (side², dim), row by row.

    The first half of the elements encodes the column, the second the row; in each, sines come before cosines. As in
    MAE (He et al. 2022).
    """
    frequencies = 1.0 / 10000 ** (torch.arange(dim // 4, dtype=torch.float64) / (dim // 4))
    angles = torch.arange(side, dtype=torch.float64)[:, None] * frequencies
    line = torch.cat([angles.sin(), angles.cos()], dim=-1)
    columns, rows = line.expand(side, -1, -1), line[:, None].expand(-1, side, -1)
    return torch.cat([columns, rows], dim=-1).reshape(side * side, dim).float()


def side_by_side(parts: Sequence[Tensor]) -> Tensor:
    """(N or 1, L', D) each → (N, L, D)."""
    if len(parts) == 1:
        return parts[0]
    count = max(len(part) for part in parts)
    return torch.cat([part.expand(count, -1, -1) for part in parts], dim=1)


class Attention(nn.Module):
    """Multi-head self-attention of everyone to everyone."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, *parts: Tensor) -> Tensor:
        """What stands side by side, (N or 1, L', D) each, L in all → (N, L, D)."""
        qkv = side_by_side([self.qkv(part) for part in parts])
        q, k, v = qkv.unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        return self.proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


class FeedForward(nn.Module):
    """Two linear maps with GELU between them."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, 4 * dim)
        self.fc2 = nn.Linear(4 * dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """(..., D) → (..., D)."""
        return self.fc2(F.gelu(self.fc1(x)))


class TransformerBlock(nn.Module):
    """A pre-norm transformer block (Dosovitskiy et al. 2021)."""

    def __init__(self, dim: int, heads: int, eps: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=eps)
        self.attn = Attention(dim, heads)
        self.norm2 = nn.LayerNorm(dim, eps=eps)
        self.mlp = FeedForward(dim)

    def forward(self, *parts: Tensor) -> Tensor:
        """(N, L, D) → (N, L, D); what is the same for all N may stand apart, (1, L', D), and is projected once."""
        x = side_by_side(parts) + self.attn(*(self.norm1(part) for part in parts))
        return x + self.mlp(self.norm2(x))


def initialize(module: nn.Module) -> None:
    """MAE's initialization: Xavier-uniform linear maps with zero biases."""
    for part in module.modules():
        if isinstance(part, nn.Linear):
            nn.init.xavier_uniform_(part.weight)
            if part.bias is not None:
                nn.init.zeros_(part.bias)
