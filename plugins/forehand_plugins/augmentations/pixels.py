"""Conversion of images between (N, H, W, C) of any dtype and float planes."""

from __future__ import annotations

import torch
from torch import Tensor


def to_planes(images: Tensor) -> Tensor:
    """(N, H, W, C) → (N, C, H, W) float, uint8 from 0 to 1."""
    planes = images.movedim(-1, 1)
    return planes.float() / 255 if images.dtype == torch.uint8 else planes


def from_planes(planes: Tensor, dtype: torch.dtype) -> Tensor:
    """The inverse of :func:`to_planes`, rounded to ``dtype``."""
    images = planes.movedim(1, -1)
    return (images * 255).round().clamp(0, 255).to(dtype) if dtype == torch.uint8 else images.to(dtype)
