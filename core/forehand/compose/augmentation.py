"""Image augmentation for training, on the device."""

from __future__ import annotations

import torch
from torch import Tensor


def random_shift(images: Tensor, pixels: int) -> Tensor:
    """Shift every frame by up to ``pixels`` in each direction, repeating its border (SPEC of Seer; DrQ, Yarats 2021).

    images: (N, H, W, C), any dtype; a new tensor of the same shape is returned.
    """
    if pixels == 0:
        return images
    n, height, width, _ = images.shape
    shift = torch.randint(-pixels, pixels + 1, (2, n, 1), device=images.device)
    rows = (torch.arange(height, device=images.device) + shift[0]).clamp(0, height - 1)
    columns = (torch.arange(width, device=images.device) + shift[1]).clamp(0, width - 1)
    frames = torch.arange(n, device=images.device)
    return images[frames[:, None, None], rows[:, :, None], columns[:, None, :]]
