"""Pixel range of networks: images as numbers from -1 to 1, and back."""

from __future__ import annotations

import torch
from torch import Tensor


def signed(images: Tensor) -> Tensor:
    """(..., H, W, 3) uint8 → (..., 3, H, W) float from -1 to 1; floats are taken as already normalized."""
    pixels = images.float() / 127.5 - 1 if images.dtype == torch.uint8 else images
    return pixels.movedim(-1, -3)


def to_images(pixels: Tensor) -> Tensor:
    """(..., 3, H, W) float from -1 to 1 → (..., H, W, 3) uint8."""
    return ((pixels.movedim(-3, -1) + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
