"""Convolutions over a vision tower's features."""

from __future__ import annotations

import itertools

from torch import Tensor, nn

from forehand.compose.parts import FeatureShape


class Convolutions(nn.Module):
    """``layers`` 3 × 3 convolutions of ``width`` channels over the patches, each with group norm and a ReLU.

    The norm has no statistics of batches, so that nothing of an image depends on those beside it.
    """

    def __init__(self, features: FeatureShape, width: int, layers: int) -> None:
        super().__init__()
        self.grid = features.grid
        widths = itertools.pairwise([features.width, *[width] * layers])
        self.layers = nn.Sequential(
            *itertools.chain.from_iterable(
                (nn.Conv2d(before, after, 3, padding=1), nn.GroupNorm(1, after), nn.ReLU()) for before, after in widths
            )
        )

    def forward(self, patches: Tensor) -> tuple[Tensor, Tensor]:
        """Patches (N, P, features) → (N, P, width), and their mean (N, width)."""
        convolved = self.layers(patches.transpose(1, 2).unflatten(-1, self.grid)).flatten(2).transpose(1, 2)
        return convolved, convolved.mean(dim=1)
