"""Gaussian blur."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from forehand.compose.augmentation import Augmentation, Draws, range_between, uniform
from forehand_plugins.augmentations.pixels import from_planes, to_planes

MOST = 20.0


class GaussianBlur(Augmentation):
    """Convolution with a Gaussian, the border reflected, as torchvision's ``gaussian_blur`` does it.

    sigma: standard deviation in pixels; a number, or [lowest, highest] to be drawn from. The kernel reaches as far as
    three of the largest.
    """

    def __init__(self, *, sigma: float | Sequence[float] = (0.1, 2.0), **options: Any) -> None:
        super().__init__(**options)
        self.sigma = range_between("gaussian_blur: sigma", sigma, 0.01, MOST)
        self.radius = math.ceil(3 * self.sigma[1])

    def draw(self, count: int, device: torch.device) -> Draws:
        """``sigma`` (N,)."""
        return {"sigma": uniform(count, self.sigma, device)}

    def apply(self, images: Tensor, draws: Draws) -> Tensor:
        """Blurred images; the radius is at most the image's side less 1."""
        planes = to_planes(images)
        for axis in (2, 3):
            radius = min(self.radius, planes.shape[axis] - 1)
            offsets = torch.arange(-radius, radius + 1, device=images.device)
            weights = torch.exp(-0.5 * (offsets / draws["sigma"][:, None]) ** 2)
            weights = (weights / weights.sum(dim=1, keepdim=True)).to(planes.dtype)[..., None, None, None]
            padding = (0, 0, radius, radius) if axis == 2 else (radius, radius, 0, 0)
            padded, length = F.pad(planes, padding, mode="reflect"), planes.shape[axis]
            taps = (weights[:, i] * padded.narrow(axis, i, length) for i in range(2 * radius + 1))
            planes = sum(taps, torch.zeros_like(planes))
        return from_planes(planes, images.dtype)
