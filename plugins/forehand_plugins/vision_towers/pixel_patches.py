"""Vision tower without weights: the pixels of each patch."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from forehand.compose.parts import VisionTower
from forehand.errors import ConfigurationError
from forehand_plugins.pixel_range import signed


class PixelPatches(VisionTower):
    """The pixels of each square patch, from -1 to 1, as a vision transformer's input (Dosovitskiy et al. 2021).

    It has nothing to learn and nothing to load: what reads or forecasts its features learns from pixels. The whole
    image's feature is the mean patch. patch: P, its height and width in pixels; a feature has 3·P² numbers.

    Raises :class:`ConfigurationError` where ``image_size`` is no multiple of ``patch``.
    """

    def __init__(self, *, image_size: int, patch: int = 8) -> None:
        super().__init__()
        if patch < 1 or image_size % patch:
            raise ConfigurationError(
                f"pixel_patches: image_size {image_size} must be a multiple of its patch of {patch} pixels."
            )
        self.patch, self.width, self.patches = patch, 3 * patch**2, (image_size // patch) ** 2

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """(N, H, W, 3) uint8, or float where already normalized → patches (N, (H/P)·(W/P), 3·P²) and their mean."""
        patches = F.pixel_unshuffle(signed(images), self.patch).flatten(2).mT
        return patches, patches.mean(dim=1)

    def extra_repr(self) -> str:
        """What decides what the tower computes."""
        return f"patch={self.patch}"
