"""Cutout: rectangles that are hidden."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from forehand.compose.augmentation import Augmentation, Draws, number_between, range_between
from forehand.errors import ConfigurationError


class Cutout(Augmentation):
    """``holes`` rectangles of one level, anywhere in the image (DeVries & Taylor 2017; Zhong et al. 2020).

    size: height and width of a rectangle, drawn apart, relative to the image's; a number, or [lowest, highest]. fill: its
    level from 0 to 1, of all channels.
    """

    def __init__(
        self, *, size: float | Sequence[float] = (0.1, 0.3), holes: int = 1, fill: float = 0.0, **options: Any
    ) -> None:
        super().__init__(**options)
        if isinstance(holes, bool) or not isinstance(holes, int) or holes < 1:
            raise ConfigurationError(f"cutout: holes is a whole number of at least 1, not {holes!r}.")
        self.size, self.holes = range_between("cutout: size", size, 0, 1), holes
        self.fill = number_between("cutout: fill", fill, 0, 1)

    def draw(self, count: int, device: torch.device) -> Draws:
        """``first`` and ``size`` of rows and columns, relative to the image's, (N, holes, 2) each."""
        low, high = self.size
        size = torch.rand(count, self.holes, 2, device=device) * (high - low) + low
        return {"size": size, "first": torch.rand(count, self.holes, 2, device=device) * (1 - size)}

    def apply(self, images: Tensor, draws: Draws) -> Tensor:
        """Images with holes."""
        first, size = draws["first"], draws["size"]
        inside = []
        for axis in (0, 1):
            place = (torch.arange(images.shape[axis + 1], device=images.device) + 0.5) / images.shape[axis + 1]
            after = place - first[..., axis, None]
            inside.append((after >= 0) & (after < size[..., axis, None]))
        hidden = (inside[0][..., :, None] & inside[1][..., None, :]).any(dim=1)
        level = round(self.fill * 255) if images.dtype == torch.uint8 else self.fill
        return images.masked_fill(hidden[..., None], level)
