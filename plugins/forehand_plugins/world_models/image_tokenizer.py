"""Image tokenizer by finite scalar quantization: patches as discrete codes, without a learned codebook."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from forehand.errors import ConfigurationError


class FiniteScalarQuantization(nn.Module):
    """Rounding of each number to one of its ``levels`` (FSQ, Mentzer et al. 2024); a code is one choice for all numbers.

    Levels stand evenly from -1 to 1, odd or even numbers of them alike. Gradients pass the rounding unchanged
    (straight-through).
    """

    steps: Tensor
    basis: Tensor

    def __init__(self, levels: Sequence[int]) -> None:
        super().__init__()
        self.levels = tuple(levels)
        self.codes = math.prod(self.levels)
        self.register_buffer("steps", torch.tensor(self.levels) - 1, persistent=False)
        basis = [math.prod(self.levels[:i]) for i in range(len(self.levels))]
        self.register_buffer("basis", torch.tensor(basis), persistent=False)

    def forward(self, numbers: Tensor) -> Tensor:
        """(..., len(levels)) numbers of any size → the nearest levels, from -1 to 1."""
        bounded = torch.tanh(numbers.float())
        level = ((bounded + 1) / 2 * self.steps).round()
        return bounded + (level / self.steps * 2 - 1 - bounded).detach()

    def to_codes(self, quantized: Tensor) -> Tensor:
        """(..., len(levels)) levels → the number of their code, (...) from 0."""
        return (self.to_levels(quantized) * self.basis).sum(dim=-1)

    def to_levels(self, quantized: Tensor) -> Tensor:
        """(..., len(levels)) levels → their numbers, each from 0, long."""
        return ((quantized + 1) / 2 * self.steps).round().long()

    def from_levels(self, level: Tensor) -> Tensor:
        """The reverse of :meth:`to_levels`."""
        return level / self.steps * 2 - 1

    def from_codes(self, codes: Tensor) -> Tensor:
        """The reverse of :meth:`to_codes`."""
        return self.from_levels(codes[..., None] // self.basis % (self.steps + 1))


class ImageTokenizer(nn.Module):
    """Square images as codes of their patches, and back; trained by the error of what comes back.

    patch: height and width of a patch in pixels. width: of the hidden layers. levels: of the quantization.
    """

    def __init__(self, *, image_size: int, patch: int, width: int, levels: Sequence[int]) -> None:
        super().__init__()
        if patch < 1 or image_size % patch:
            raise ConfigurationError(
                f"discrete_tokens: image_size {image_size} must be a multiple of its patch of {patch} pixels."
            )
        if not levels or min(levels) < 2:
            raise ConfigurationError(f"discrete_tokens: levels are numbers of 2 or more, not {list(levels)}.")
        self.side = image_size // patch
        self.quantize = FiniteScalarQuantization(levels)
        last = nn.Conv2d(width, len(self.quantize.levels), 1)
        nn.init.normal_(last.weight, std=3 * width**-0.5)  # else untrained codes are all the same
        self.encoder = nn.Sequential(nn.Conv2d(3, width, patch, stride=patch), nn.GELU(), last)
        self.decoder = nn.Sequential(
            nn.Conv2d(len(self.quantize.levels), width, 3, padding=1),
            nn.GELU(),
            nn.ConvTranspose2d(width, 3, patch, stride=patch),
        )

    @property
    def patches(self) -> int:
        """P, the patches of one image."""
        return self.side**2

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """(N, 3, H, W) pixels from -1 to 1 → what comes back of them, likewise, and their codes (N, P)."""
        quantized = self.quantize(self.encoder(pixels).flatten(2).mT)
        return self._pixels(quantized), self.quantize.to_codes(quantized)

    def decode(self, codes: Tensor) -> Tensor:
        """(N, P) codes → (N, 3, H, W) pixels from -1 to 1."""
        return self._pixels(self.quantize.from_codes(codes))

    def _pixels(self, quantized: Tensor) -> Tensor:
        pixels: Tensor = self.decoder(quantized.mT.unflatten(2, (self.side, self.side)))
        return pixels
