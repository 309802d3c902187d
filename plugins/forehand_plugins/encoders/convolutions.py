"""Convolutions over a vision tower's features."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping

from torch import Tensor, nn

from forehand.compose.parts import FeatureShape
from forehand.errors import ConfigurationError, nearest

NORMS: Mapping[str, Callable[[int], nn.Module]] = {"group": lambda width: nn.GroupNorm(1, width), "batch": nn.BatchNorm2d}


class Convolutions(nn.Module):
    """``layers`` 3 × 3 convolutions of ``width`` channels over the patches, each with a norm and a ReLU.

    norm: ``group``, without statistics of batches, so that nothing of an image depends on those beside it, or ``batch``,
    whose statistics are those of all images that were trained on, of video without actions too.
    """

    def __init__(self, features: FeatureShape, width: int, layers: int, norm: str = "group") -> None:
        super().__init__()
        if norm not in NORMS:
            raise ConfigurationError(f"vision: unknown norm {norm!r}. {nearest(norm, NORMS)}")
        self.grid = features.grid
        widths = itertools.pairwise([features.width, *[width] * layers])
        self.layers = nn.Sequential(
            *itertools.chain.from_iterable(
                (nn.Conv2d(before, after, 3, padding=1), NORMS[norm](after), nn.ReLU()) for before, after in widths
            )
        )

    def forward(self, patches: Tensor) -> tuple[Tensor, Tensor]:
        """Patches (N, P, features) → (N, P, width), and their mean (N, width)."""
        convolved = self.layers(patches.transpose(1, 2).unflatten(-1, self.grid)).flatten(2).transpose(1, 2)
        return convolved, convolved.mean(dim=1)
