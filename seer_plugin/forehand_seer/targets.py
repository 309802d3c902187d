"""Targets of the foresight decoder: pixel normalization, and its inverse."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping

import torch
from torch import Tensor

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)


def clip_normalize(images: Tensor) -> Tensor:
    """(..., H, W, 3) uint8 → float with CLIP's mean and standard deviation; floats are taken as already normalized."""
    if images.dtype != torch.uint8:
        return images
    mean, std = images.new_tensor(CLIP_MEAN, dtype=torch.float32), images.new_tensor(CLIP_STD, dtype=torch.float32)
    return (images.float() / 255 - mean) / std


class Target(ABC):
    """How pixels become what is predicted. Patches are (..., patches, pixels·3)."""

    @abstractmethod
    def normalize(self, images: Tensor) -> Tensor:
        """(..., H, W, 3) uint8 → float; floats are taken as already normalized."""

    @abstractmethod
    def from_patches(self, patches: Tensor) -> Tensor:
        """Patches of the normalized future image → what the prediction is compared with, of the same shape."""

    @abstractmethod
    def to_patches(self, prediction: Tensor, present: Tensor) -> Tensor:
        """A prediction, and the patches of the normalized image now → patches of the expected image, normalized."""

    @abstractmethod
    def to_pixels(self, images: Tensor) -> Tensor:
        """Normalized images → float pixels from 0 to 255."""


class PatchNormalized(Target):
    """Each patch less its own mean, over its own standard deviation (unbiased, 1e-6 within the root): Seer's target.

    It holds a patch's texture, not its brightness: to display a prediction, mean and standard deviation are taken from
    the same patch of the present image.
    """

    def normalize(self, images: Tensor) -> Tensor:
        """CLIP's mean and standard deviation."""
        return clip_normalize(images)

    @staticmethod
    def _moments(patches: Tensor) -> tuple[Tensor, Tensor]:
        return patches.mean(dim=-1, keepdim=True), (patches.var(dim=-1, keepdim=True) + 1e-6).sqrt()

    def from_patches(self, patches: Tensor) -> Tensor:
        """Patches normalized by their own moments."""
        mean, std = self._moments(patches)
        return (patches - mean) / std

    def to_patches(self, prediction: Tensor, present: Tensor) -> Tensor:
        """The prediction with the moments of the present patches."""
        mean, std = self._moments(present)
        return prediction * std + mean

    def to_pixels(self, images: Tensor) -> Tensor:
        """The inverse of :func:`clip_normalize`."""
        return (images * images.new_tensor(CLIP_STD) + images.new_tensor(CLIP_MEAN)) * 255


class Pixels(Target):
    """The pixels themselves, from -1 to 1: for small models whose forecast is displayed."""

    def normalize(self, images: Tensor) -> Tensor:
        """0 … 255 to -1 … 1."""
        return images.float() / 127.5 - 1 if images.dtype == torch.uint8 else images

    def from_patches(self, patches: Tensor) -> Tensor:
        """The patches themselves."""
        return patches

    def to_patches(self, prediction: Tensor, present: Tensor) -> Tensor:
        """The prediction itself."""
        return prediction

    def to_pixels(self, images: Tensor) -> Tensor:
        """-1 … 1 to 0 … 255."""
        return (images + 1) * 127.5


TARGETS: Mapping[str, type[Target]] = {"patch_normalized": PatchNormalized, "pixels": Pixels}
