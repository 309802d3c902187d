"""Spatial softmax: feature maps as expected positions."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class SpatialSoftmax(nn.Module):
    """Each channel's expected position, and how much it stands out (Levine et al. 2016, section 5.3).

    Scores are first normalized over the image, and sharpened by a learned scale for each channel, so that a rare feature,
    such as a small object, dominates the softmax from the first step of training on.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(channels))

    def forward(self, scores: Tensor) -> Tensor:
        """(N, K, h, w) → (N, K, 3): x and y in [-1, 1], and the log-mean-exp of the normalized scores."""
        height, width = scores.shape[-2:]
        flat = F.layer_norm(scores.flatten(2), (height * width,)) * self.scale[:, None]
        weights = flat.softmax(dim=-1).unflatten(-1, (height, width))
        x = weights.sum(dim=-2) @ torch.linspace(-1, 1, width, device=scores.device)
        y = weights.sum(dim=-1) @ torch.linspace(-1, 1, height, device=scores.device)
        presence = flat.logsumexp(dim=-1) - math.log(height * width)
        return torch.stack([x, y, presence], dim=-1)
