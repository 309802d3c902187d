"""Inverse and forward dynamics between the feature maps of two frames, tied by a latent action."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from forehand.compose.parts import FeatureShape

POOLED = 4
"""Rows and columns to which the inverse model's map is pooled."""


class InverseDynamicsModel(nn.Module):
    """What led from one frame to another, as ``numbers`` numbers: convolutions on the features and their change.

    cameras: C. hidden: channels of the convolutions.
    """

    def __init__(self, features: FeatureShape, *, cameras: int, hidden: int, numbers: int) -> None:
        super().__init__()
        self.grid, width = features.grid, features.width
        rows, columns = (min(side, POOLED) for side in self.grid)
        self.convolutions = nn.Sequential(
            nn.Conv2d(2 * width, hidden, 1),
            nn.GELU(),
            nn.Conv2d(hidden, hidden, 3, padding=1),
            nn.GELU(),
            nn.Conv2d(hidden, hidden, 3, padding=1),
            nn.GELU(),
            nn.AdaptiveAvgPool2d((rows, columns)),
            nn.Flatten(),
        )
        self.head = nn.Sequential(
            nn.Linear(cameras * hidden * rows * columns, 2 * hidden),
            nn.LayerNorm(2 * hidden),
            nn.GELU(),
            nn.Linear(2 * hidden, numbers),
        )

    def forward(self, now: Tensor, future: Tensor) -> Tensor:
        """(N, C, P, W) features of two frames → (N, numbers)."""
        seen = torch.cat([now, future - now], dim=-1)
        maps = self.convolutions(seen.flatten(0, 1).mT.unflatten(2, self.grid))
        numbers: Tensor = self.head(maps.unflatten(0, seen.shape[:2]).flatten(1))
        return numbers


class ForwardDynamicsModel(nn.Module):
    """The change of the features that a latent action brings: residual convolutions that it modulates (FiLM).

    cameras: C, which share the convolutions. latent: numbers of a latent action. layers: of the convolutions.
    """

    def __init__(self, features: FeatureShape, *, cameras: int, hidden: int, latent: int, layers: int) -> None:
        super().__init__()
        self.grid, width = features.grid, features.width
        self.enter = nn.Conv2d(width, hidden, 1)
        self.positions = nn.Parameter(torch.randn(cameras, hidden, *self.grid) * 0.02)
        self.norms = nn.ModuleList(nn.GroupNorm(1, hidden) for _ in range(layers))
        self.modulate = nn.ModuleList(nn.Linear(latent, 2 * hidden) for _ in range(layers))
        self.convolutions = nn.ModuleList(nn.Conv2d(hidden, hidden, 3, padding=1) for _ in range(layers))
        self.predict = nn.Conv2d(hidden, width, 1)
        nn.init.normal_(self.predict.weight, std=1e-2 * hidden**-0.5)  # hardly anything changes at first
        assert self.predict.bias is not None
        nn.init.zeros_(self.predict.bias)

    def forward(self, now: Tensor, latent: Tensor) -> Tensor:
        """(N, C, P, W) features and latent actions (N, latent) → their change, (N, C, P, W)."""
        cameras = now.shape[1]
        maps = self.enter(now.flatten(0, 1).mT.unflatten(2, self.grid))
        maps = maps + self.positions.repeat(len(now), 1, 1, 1)
        each = latent.repeat_interleave(cameras, dim=0)
        for norm, modulate, convolution in zip(self.norms, self.modulate, self.convolutions, strict=True):
            scale, shift = modulate(each)[..., None, None].chunk(2, dim=1)
            maps = maps + convolution(F.gelu(norm(maps) * (1 + scale) + shift))
        change: Tensor = self.predict(maps).flatten(2).mT
        return change.unflatten(0, now.shape[:2])
