"""Visual foresight world model: query tokens, and a decoder of future images."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from forehand import Contract
from forehand.compose.horizons import single_horizon
from forehand.compose.parts import Inputs, LossTerms, WorldModel, masked_mean, require_cameras, valid_of_cameras
from forehand.errors import ConfigurationError, nearest
from forehand_seer.targets import TARGETS, Target
from forehand_seer.vision_transformer import (
    TransformerBlock,
    initialize,
    patchify,
    side_by_side,
    sincos_table,
    unpatchify,
)


class Foresight(WorldModel):
    """Seer's conditional visual foresight: a ViT decoder of mask tokens (Tian et al. 2024).

    Each camera's image ``horizon`` control steps ahead is decoded from that camera's own queries; cameras share the
    decoder. cameras: which are forecast, in the order of their queries. queries: F for each camera, a square number,
    since they form a grid. patch: height and width, in pixels, of the decoded patches. layers, heads, width:
    of the decoder; ``width`` defaults to D. target: ``patch_normalized`` (Seer's) or ``pixels``; see
    :mod:`forehand_seer.targets`. weight: of the loss term ``foresight``, the squared error averaged over cameras.
    """

    grid: Tensor
    canvas: Tensor

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
        layers: int = 2,
        heads: int = 16,
        width: int | None = None,
        target: str = "patch_normalized",
        weight: float = 0.1,
    ) -> None:
        super().__init__()
        require_cameras(contract, cameras, "seer/foresight")
        width = width or dim
        if image_size % patch:
            raise ConfigurationError(f"seer/foresight: images of {image_size} pixels are no whole number of {patch}.")
        if target not in TARGETS:
            raise ConfigurationError(f"seer/foresight: unknown target {target!r}. {nearest(target, TARGETS)}")
        if math.isqrt(queries) ** 2 != queries:
            raise ConfigurationError(f"seer/foresight: queries must be a square number (a grid), not {queries}.")
        if width % heads or width % 4:
            raise ConfigurationError(f"seer/foresight: width {width} must be a multiple of 4 and of {heads} heads.")
        self._add_queries(queries * len(cameras), dim)
        self.cameras, self.horizon, self.patch = tuple(cameras), single_horizon("seer/foresight", horizon), patch
        self.weights = {"foresight": weight}
        self.target: Target = TARGETS[target]()
        self.project = nn.Linear(dim, width)
        self.mask_token = nn.Parameter(torch.randn(1, 1, width) * 0.02)
        self.register_buffer("grid", sincos_table(width, math.isqrt(queries)), persistent=False)
        self.register_buffer("canvas", sincos_table(width, image_size // patch), persistent=False)
        self.decoder = nn.ModuleList(TransformerBlock(width, heads, eps=1e-5) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        self.predict = nn.Linear(width, patch * patch * 3)
        initialize(self)

    def forward(self, readout: Tensor) -> Tensor:
        """(..., C·F, D) readout → (..., C, patches, patch·patch·3), in the terms of the target; C cameras."""
        lead = readout.shape[:-2]
        seen = self.project(readout.reshape(-1, len(self.grid), readout.shape[-1])) + self.grid
        parts = [seen, self.mask_token + self.canvas]  # the same for the first layer every time
        for block in self.decoder:
            parts = [block(*parts)]
        patches = self.predict(self.norm(side_by_side(parts)[:, len(self.grid) :]))
        return patches.reshape(*lead, len(self.cameras), *patches.shape[1:])

    def loss(self, readout: Tensor, target: Inputs, valid: Tensor) -> LossTerms:
        """``foresight``: squared error of (B, T, C·F, D) readout against ``future.<camera>`` (B, T, H, W, 3)."""
        with torch.no_grad():
            wanted = torch.stack([self._patches(target[f"future.{camera}"]) for camera in self.cameras], dim=2)
            wanted = self.target.from_patches(wanted)
        error = (self(readout).float() - wanted).square().mean(dim=(-2, -1))  # (B, T, C)
        return {"foresight": masked_mean(error, valid_of_cameras(self.cameras, target, valid))}

    @torch.no_grad()
    def decode_images(self, readout: Tensor, images: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """(N, C·F, D) readout and the images now (N, H, W, 3) → camera → the expected image (N, H, W, 3) uint8.

        A ``patch_normalized`` forecast holds no brightness and contrast of patches: they are taken from the present.
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
