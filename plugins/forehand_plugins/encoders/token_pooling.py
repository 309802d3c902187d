"""Pooling of a vision tower's features into tokens of a policy.

Every module maps patches (N, P, W) and the whole image's feature (N, W) to tokens (N, count, D).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from forehand.compose.parts import FeatureShape
from forehand.errors import ConfigurationError, nearest
from forehand_plugins.encoders.spatial_softmax import SpatialSoftmax


class Pooled(nn.Module):
    """The tower's own pooling, as one token."""

    count = 1

    def __init__(self, width: int, dim: int) -> None:
        super().__init__()
        self.project = nn.Linear(width, dim)

    def forward(self, patches: Tensor, whole: Tensor) -> Tensor:
        """→ (N, 1, D)."""
        tokens: Tensor = self.project(whole)[:, None]
        return tokens


class Grid(nn.Module):
    """A token for each patch, with a learned position embedding (Dosovitskiy et al. 2021, section 3.1)."""

    def __init__(self, width: int, dim: int, patches: int) -> None:
        super().__init__()
        self.count = patches
        self.project = nn.Linear(width, dim)
        self.position = nn.Parameter(torch.randn(patches, dim) * 0.02)

    def forward(self, patches: Tensor, whole: Tensor) -> Tensor:
        """→ (N, P, D)."""
        tokens: Tensor = self.project(patches) + self.position
        return tokens


class SpatialSoftmaxTokens(nn.Module):
    """``count`` tokens from the expected positions of learned keypoints (Levine et al. 2016, section 5.3)."""

    def __init__(self, width: int, dim: int, grid: tuple[int, int], count: int, keypoints: int) -> None:
        super().__init__()
        self.grid, self.count = grid, count
        self.score = nn.Linear(width, keypoints)
        self.locate = SpatialSoftmax(keypoints)
        self.project = nn.Linear(3 * keypoints, count * dim)

    def forward(self, patches: Tensor, whole: Tensor) -> Tensor:
        """→ (N, count, D)."""
        scores = self.score(patches).transpose(1, 2).unflatten(-1, self.grid)
        points = self.locate(scores).flatten(1)
        tokens: Tensor = self.project(points).unflatten(-1, (self.count, -1))
        return tokens


class AttentionPooling(nn.Module):
    """``count`` learned queries that attend to the patches (Lee et al. 2019, Set Transformer, section 3.2).

    Patches have a learned position embedding; a residual feed-forward layer follows the attention.
    """

    def __init__(self, width: int, dim: int, patches: int, count: int, heads: int) -> None:
        super().__init__()
        if dim % heads:
            raise ConfigurationError(f"vision: {heads} heads do not divide the policy's dim, {dim}. Set heads or dim.")
        self.count = count
        self.read = Grid(width, dim, patches)
        self.queries = nn.Parameter(torch.randn(count, dim) * 0.02)
        self.norm_patches, self.norm = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.attention = nn.MultiheadAttention(dim, heads, batch_first=True)
        self.feed_forward = nn.Sequential(nn.Linear(dim, 2 * dim), nn.GELU(), nn.Linear(2 * dim, dim))

    def forward(self, patches: Tensor, whole: Tensor) -> Tensor:
        """→ (N, count, D)."""
        media = self.norm_patches(self.read(patches, whole))
        queries = self.queries.expand(len(patches), -1, -1)
        tokens = queries + self.attention(queries, media, media, need_weights=False)[0]
        return tokens + self.feed_forward(self.norm(tokens))


SEVERAL = ("spatial_softmax", "attention_pooled")
KINDS = ("pooled", "grid", *SEVERAL)
"""Kinds of tokens; the number of those in ``SEVERAL`` is an option."""


def make_pooling(
    kind: str, features: FeatureShape, dim: int, *, count: int | None, keypoints: int, heads: int
) -> Pooled | Grid | SpatialSoftmaxTokens | AttentionPooling:
    """The pooling of a kind for features of a shape; ``count`` tokens, by default 4, of the kinds in ``SEVERAL``.

    Raises :class:`ConfigurationError` for an unknown kind, and for a count that the kind does not have.
    """
    if kind not in KINDS:
        raise ConfigurationError(f"vision: unknown tokens {kind!r}. {nearest(kind, KINDS)}")
    if count is not None and kind not in SEVERAL:
        raise ConfigurationError(
            f"vision: count is an option of tokens={' and tokens='.join(SEVERAL)}; tokens={kind} has its own. Set "
            f"count=null beside it."
        )
    if count is not None and count < 1:
        raise ConfigurationError(f"vision: count, the number of tokens of a camera, must be at least 1, not {count}.")
    if kind == "pooled":
        return Pooled(features.width, dim)
    if kind == "grid":
        return Grid(features.width, dim, features.patches)
    if kind == "spatial_softmax":
        return SpatialSoftmaxTokens(features.width, dim, features.grid, count or 4, keypoints)
    return AttentionPooling(features.width, dim, features.patches, count or 4, heads)
