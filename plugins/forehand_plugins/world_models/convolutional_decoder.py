"""Decoder from query tokens and present features to the change of these, by convolutions."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from forehand.compose.parts import FeatureShape
from forehand.errors import ConfigurationError

MAPS = 8
"""Linear maps of the queries at each position: what they say of where."""


class ConvolutionalDecoder(nn.Module):
    """Change of each camera's present features at K horizons, from these and from that camera's own F queries.

    Two 3 × 3 convolutions over the present features, beside which stand :data:`MAPS` linear maps of the queries; the
    queries modulate what is between the two (FiLM, Perez et al. 2018). What is where is read off the present features,
    so the queries need to say only what will become of it. Each camera has its own weights.

    part: for errors. dim: D, the width of the queries. cameras: C. queries: F. features: shape of the features. horizons:
    K. width: channels between the convolutions.
    """

    def __init__(
        self, part: str, *, dim: int, cameras: int, queries: int, features: FeatureShape, horizons: int, width: int
    ) -> None:
        super().__init__()
        if min(queries, width) < 1:
            raise ConfigurationError(f"{part}: queries and width must be 1 or more, not {queries} and {width}.")
        self.grid, self.horizons, self.patches = features.grid, horizons, features.patches
        self.read = nn.ModuleList(nn.Linear(queries * dim, MAPS * features.patches + 2 * width) for _ in range(cameras))
        self.enter = nn.ModuleList(nn.Conv2d(features.width + MAPS, width, 3, padding=1) for _ in range(cameras))
        self.leave = nn.ModuleList(nn.Conv2d(width, horizons * features.width, 3, padding=1) for _ in range(cameras))
        for convolution in self.leave:
            nn.init.normal_(convolution.weight, std=1e-3)  # type: ignore[arg-type]  # hardly anything changes at first
            nn.init.zeros_(convolution.bias)  # type: ignore[arg-type]

    def forward(self, readout: Tensor) -> Tensor:
        """(..., C·F, D) readout → (..., C, :data:`MAPS` · P + 2 · width): maps, scales and shifts of each camera."""
        by_camera = readout.unflatten(-2, (len(self.read), -1)).flatten(-2)
        return torch.stack([read(by_camera[..., i, :]) for i, read in enumerate(self.read)], dim=-2)

    def change(self, said: Tensor, now: Tensor) -> Tensor:
        """What :meth:`forward` made, and layer-normed features (..., C, P, W) → their change, (..., C, K, P, W)."""
        said, present = said.flatten(0, -3), now.flatten(0, -4).transpose(-1, -2).unflatten(-1, self.grid)
        changes = [self._change(i, said[:, i], present[:, i]) for i in range(len(self.read))]
        return torch.stack(changes, dim=1).unflatten(0, now.shape[:-3])

    def _change(self, camera: int, said: Tensor, present: Tensor) -> Tensor:
        """(N, MAPS · P + 2 · width) and (N, W, h, w) → (N, K, P, W)."""
        maps, film = said.split([MAPS * self.patches, said.shape[1] - MAPS * self.patches], dim=1)
        scale, shift = film[..., None, None].chunk(2, dim=1)
        seen = torch.cat([present, maps.unflatten(1, (MAPS, *self.grid))], dim=1)
        hidden = F.relu(self.enter[camera](seen) * (1 + scale) + shift)
        change: Tensor = self.leave[camera](hidden).unflatten(1, (self.horizons, -1)).flatten(3).transpose(2, 3)
        return change
