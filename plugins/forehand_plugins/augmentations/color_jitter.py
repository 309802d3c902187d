"""Colour jitter: brightness, contrast, saturation and hue."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from forehand.compose.augmentation import Augmentation, Draws, range_between, uniform
from forehand.errors import ConfigurationError
from forehand_plugins.augmentations.pixels import from_planes, to_planes

GRAY = (0.2989, 0.587, 0.114)
"""Weights of red, green and blue in brightness, torchvision's."""

MOST = 10.0


class ColorJitter(Augmentation):
    """Brightness, contrast, saturation and hue, one after the other, as torchvision's ``adjust_…`` change them.

    brightness, contrast, saturation: x for factors from 1 - x to 1 + x, or [lowest, highest]; 0 leaves it. hue: x for
    turns from -x to x (0.5 is half the circle), or [lowest, highest]. Images have red, green and blue; floats run from
    0 to 1. torchvision's own functions take one factor for all images, and these one for each.
    """

    def __init__(
        self,
        *,
        brightness: float | Sequence[float] = 0.0,
        contrast: float | Sequence[float] = 0.0,
        saturation: float | Sequence[float] = 0.0,
        hue: float | Sequence[float] = 0.0,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        factors = {"brightness": brightness, "contrast": contrast, "saturation": saturation}
        around = {name: [max(0.0, 1 - x), 1 + x] if isinstance(x, int | float) else x for name, x in factors.items()}
        between = {name: range_between(f"color_jitter: {name}", pair, 0, MOST) for name, pair in around.items()}
        turn = [-hue, hue] if isinstance(hue, int | float) else hue
        between["hue"] = range_between("color_jitter: hue", turn, -0.5, 0.5)
        neutral = {"hue": (0.0, 0.0)}
        self.between = {name: pair for name, pair in between.items() if pair != neutral.get(name, (1.0, 1.0))}
        if not self.between:
            raise ConfigurationError("color_jitter changes nothing: give brightness, contrast, saturation or hue.")

    def draw(self, count: int, device: torch.device) -> Draws:
        """Factors, and the turn of the hue, (N,) each."""
        return {name: uniform(count, pair, device) for name, pair in self.between.items()}

    def apply(self, images: Tensor, draws: Draws) -> Tensor:
        """Images in other colours."""
        if images.shape[-1] != 3:
            raise ConfigurationError(f"color_jitter: images of 3 channels are needed, not of {images.shape[-1]}.")
        planes = to_planes(images)
        for name, values in draws.items():
            planes = CHANGES[name](planes, values[:, None, None, None].to(planes.dtype))
        return from_planes(planes, images.dtype)


def _gray(planes: Tensor) -> Tensor:
    return (planes * planes.new_tensor(GRAY)[:, None, None]).sum(dim=1, keepdim=True)


def _brightness(planes: Tensor, factor: Tensor) -> Tensor:
    return (planes * factor).clamp(0, 1)


def _contrast(planes: Tensor, factor: Tensor) -> Tensor:
    return torch.lerp(_gray(planes).mean(dim=(1, 2, 3), keepdim=True), planes, factor).clamp(0, 1)


def _saturation(planes: Tensor, factor: Tensor) -> Tensor:
    return torch.lerp(_gray(planes).expand_as(planes), planes, factor).clamp(0, 1)


def _hue(planes: Tensor, turn: Tensor) -> Tensor:
    """Rotation of the hue in HSV, of which value and chroma stay (Smith 1978)."""
    value, chroma = planes.amax(dim=1, keepdim=True), planes.amax(dim=1, keepdim=True) - planes.amin(dim=1, keepdim=True)
    red, green, blue = planes.split(1, dim=1)
    some = torch.where(chroma > 0, chroma, 1)
    sextant = torch.where(
        value == red,
        (green - blue) / some,
        torch.where(value == green, 2 + (blue - red) / some, 4 + (red - green) / some),
    )
    place = (sextant + 6 * turn + planes.new_tensor([5, 3, 1])[:, None, None]) % 6
    return value - chroma * torch.minimum(place, 4 - place).clamp(0, 1)


CHANGES = {"brightness": _brightness, "contrast": _contrast, "saturation": _saturation, "hue": _hue}
