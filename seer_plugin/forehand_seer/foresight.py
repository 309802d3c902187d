"""What will the cameras see? Query tokens, and decoders that paint their answer."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from forehand import Contract
from forehand.compose.parts import Inputs, Terms, WorldModel, masked_mean, require_cameras
from forehand.errors import ConfigurationError
from forehand.registry import nearest
from forehand_seer.targets import TARGETS, Target
from forehand_seer.vision_transformer import Block, initialize, patchify, sincos_table, unpatchify


class ForesightDecoder(WorldModel):
    """What foresight decoders share: each camera's image ``horizon`` control steps ahead, from that camera's own queries.

    cameras: which are forecast, in the order of their queries. queries: F for each camera. patch: height and width, in
    pixels, of the patches that predictions are compared in. target: ``patch_normalized`` (Seer's) or ``pixels``; see
    :mod:`forehand_seer.targets`. weight: of the loss term ``foresight``, the squared error averaged over cameras. share:
    of the timesteps in a batch that the loss decodes in training, drawn afresh each time: painting is what costs most in
    a small model.
    """

    def __init__(
        self,
        *,
        contract: Contract,
        dim: int,
        image_size: int,
        cameras: Sequence[str],
        horizon: int = 3,
        queries: int = 9,
        patch: int = 16,
        target: str = "patch_normalized",
        weight: float = 0.1,
        share: float = 1.0,
    ) -> None:
        super().__init__()
        require_cameras(contract, cameras, "foresight")
        if image_size % patch:
            raise ConfigurationError(f"foresight: images of {image_size} pixels are no whole number of {patch}.")
        if target not in TARGETS:
            raise ConfigurationError(f"foresight: unknown target {target!r}. {nearest(target, TARGETS)}")
        if not 0 < share <= 1:
            raise ConfigurationError(f"foresight: share must be above 0 and at most 1, not {share}.")
        self._own(queries * len(cameras), dim)
        self.cameras, self.horizon, self.patch, self.share = tuple(cameras), horizon, patch, share
        self.weights = {"foresight": weight}
        self.target: Target = TARGETS[target]()

    @abstractmethod
    def forward(self, readout: Tensor) -> Tensor:
        """(..., C·F, D) readout → (..., C, patches, patch·patch·3), in the terms of the target; C cameras."""

    def loss(self, readout: Tensor, target: Inputs, valid: Tensor) -> Terms:
        """``foresight``: squared error of (B, T, C·F, D) readout against ``future.<camera>`` (B, T, H, W, 3)."""
        readout, valid = readout.flatten(0, 1), valid.flatten()
        target = {f"future.{camera}": target[f"future.{camera}"].flatten(0, 1) for camera in self.cameras}
        if self.training and self.share < 1:
            drawn = torch.randperm(len(valid), device=valid.device)[: math.ceil(self.share * len(valid))]
            readout, valid = readout[drawn], valid[drawn]
            target = {key: images[drawn] for key, images in target.items()}
        with torch.no_grad():
            wanted = torch.stack([self._patches(target[f"future.{camera}"]) for camera in self.cameras], dim=1)
            wanted = self.target.from_patches(wanted)
        error = (self(readout) - wanted).square().mean(dim=(-3, -2, -1))
        return {"foresight": masked_mean(error, valid)}

    @torch.no_grad()
    def pictures(self, readout: Tensor, images: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """(N, C·F, D) readout and the images now (N, H, W, 3) → camera → the expected image (N, H, W, 3) uint8.

        A ``patch_normalized`` forecast says nothing of each patch's brightness and contrast: they are the present's.
        """
        prediction = self(readout)
        pictures = {}
        for i, camera in enumerate(self.cameras):
            patches = self.target.to_patches(prediction[:, i], self._patches(images[camera]))
            pixels = self.target.to_pixels(unpatchify(patches, self.patch))
            pictures[camera] = pixels.round().clamp(0, 255).to(torch.uint8)
        return pictures

    def _patches(self, images: Tensor) -> Tensor:
        return patchify(self.target.normalize(images), self.patch)


class Foresight(ForesightDecoder):
    """Seer's conditional visual foresight: a ViT that paints mask tokens; all cameras share it.

    queries: a square number, since they stand on a grid. layers, heads, width: of the decoder; ``width`` defaults to D.
    All else: see :class:`ForesightDecoder`.
    """

    grid: Tensor
    canvas: Tensor

    def __init__(
        self,
        *,
        dim: int,
        image_size: int,
        queries: int = 9,
        patch: int = 16,
        layers: int = 2,
        heads: int = 16,
        width: int | None = None,
        **shared: Any,
    ) -> None:
        width = width or dim
        if math.isqrt(queries) ** 2 != queries:
            raise ConfigurationError(f"seer/foresight: queries must be a square number (a grid), not {queries}.")
        if width % heads or width % 4:
            raise ConfigurationError(f"seer/foresight: width {width} must be a multiple of 4 and of {heads} heads.")
        super().__init__(dim=dim, image_size=image_size, queries=queries, patch=patch, **shared)
        self.project = nn.Linear(dim, width)
        self.mask_token = nn.Parameter(torch.randn(1, 1, width) * 0.02)
        self.register_buffer("grid", sincos_table(width, math.isqrt(queries)), persistent=False)
        self.register_buffer("canvas", sincos_table(width, image_size // patch), persistent=False)
        self.decoder = nn.ModuleList(Block(width, heads, eps=1e-5) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        self.predict = nn.Linear(width, patch * patch * 3)
        initialize(self)

    def forward(self, readout: Tensor) -> Tensor:
        """(..., C·F, D) readout → (..., C, patches, patch·patch·3), in the terms of the target; C cameras."""
        lead = readout.shape[:-2]
        seen = self.project(readout.reshape(-1, len(self.grid), readout.shape[-1])) + self.grid
        blank = (self.mask_token + self.canvas).expand(len(seen), -1, -1)
        x = torch.cat([seen, blank], dim=1)
        for block in self.decoder:
            x = block(x)
        patches = self.predict(self.norm(x[:, len(self.grid) :]))
        return patches.reshape(*lead, len(self.cameras), *patches.shape[1:])


class ConvolutionalForesight(ForesightDecoder):
    """Foresight painted by convolutions, a decoder for each camera: rougher than Seer's, and learned in minutes on a CPU.

    A camera's queries together make a small feature map, which sub-pixel convolutions (Shi et al. 2016) enlarge
    eightfold; a learned picture of the empty scene is added. width: channels of the feature map, a multiple of 4. All
    else: see :class:`ForesightDecoder`.
    """

    def __init__(
        self, *, dim: int, image_size: int, cameras: Sequence[str], queries: int = 4, width: int = 32, **shared: Any
    ) -> None:
        if image_size % 8 or width % 4:
            raise ConfigurationError(
                f"seer/convolutional_foresight: image_size {image_size} must be a multiple of 8, width {width} one of 4."
            )
        super().__init__(dim=dim, image_size=image_size, cameras=cameras, queries=queries, **shared)
        side = image_size // 8
        self.decoders = nn.ModuleList(
            nn.Sequential(
                nn.Flatten(),
                nn.Linear(queries * dim, width * side * side),
                nn.Unflatten(1, (width, side, side)),
                nn.ReLU(),
                nn.Conv2d(width, 2 * width, 3, padding=1),
                nn.PixelShuffle(2),
                nn.ReLU(),
                nn.Conv2d(width // 2, 2 * width, 3, padding=1),
                nn.PixelShuffle(2),
                nn.ReLU(),
                nn.Conv2d(width // 2, 12, 3, padding=1),
                nn.PixelShuffle(2),
            )
            for _ in cameras
        )
        self.scene = nn.Parameter(torch.zeros(len(cameras), 3, image_size, image_size))

    def forward(self, readout: Tensor) -> Tensor:
        """(..., C·F, D) readout → (..., C, patches, patch·patch·3), in the terms of the target; C cameras."""
        lead = readout.shape[:-2]
        by_camera = readout.reshape(-1, len(self.cameras), readout.shape[-2] // len(self.cameras), readout.shape[-1])
        images = torch.stack([decode(by_camera[:, i]) for i, decode in enumerate(self.decoders)], dim=1) + self.scene
        patches = patchify(images.movedim(-3, -1), self.patch)
        return patches.reshape(*lead, *patches.shape[1:])
