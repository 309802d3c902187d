"""Random crop, resized back to the whole image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from forehand.compose.augmentation import Augmentation, Draws, range_between, uniform
from forehand.errors import ConfigurationError, nearest
from forehand_plugins.augmentations.pixels import from_planes, to_planes

POSITIONS = ("random", "center")


class Crop(Augmentation):
    """A part of the image, resized bilinearly to the size of the whole, as torchvision's ``resized_crop`` does.

    size: height and width of the part, relative to the image's; a number, or [lowest, highest] to be drawn from.
    position: ``random``, or ``center``.
    """

    def __init__(self, *, size: float | Sequence[float] = 0.9, position: str = "random", **options: Any) -> None:
        super().__init__(**options)
        if position not in POSITIONS:
            raise ConfigurationError(f"crop: unknown position {position!r}. {nearest(str(position), POSITIONS)}")
        self.size, self.position = range_between("crop: size", size, 0.01, 1), position

    def draw(self, count: int, device: torch.device) -> Draws:
        """``size`` (N,), and ``center`` (N, 2), x and y from -1 to 1."""
        size = uniform(count, self.size, device)
        if self.position == "center":
            return {"size": size, "center": torch.zeros(count, 2, device=device)}
        return {"size": size, "center": (torch.rand(count, 2, device=device) * 2 - 1) * (1 - size)[:, None]}

    def apply(self, images: Tensor, draws: Draws) -> Tensor:
        """The parts, resized."""
        planes = to_planes(images)
        scale = torch.diag_embed(draws["size"][:, None].expand(-1, 2))
        grid = F.affine_grid(
            torch.cat([scale, draws["center"][..., None]], dim=-1), list(planes.shape), align_corners=False
        )
        return from_planes(F.grid_sample(planes, grid, padding_mode="border", align_corners=False), images.dtype)
