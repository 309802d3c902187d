"""Appearance-flow world model: future images as the present one, warped."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from forehand.compose.horizons import single_horizon
from forehand.compose.parts import (
    FUTURE,
    PRESENT,
    Inputs,
    LossTerms,
    WorldModel,
    masked_mean,
    require_cameras,
    valid_of_cameras,
)
from forehand.contracts.contract import Contract
from forehand.errors import ConfigurationError
from forehand_plugins.pixel_range import signed, to_images

COARSE = 4
"""Factor by which images are also compared downsampled, where the gradient extends over more of the image."""


class AppearanceFlow(WorldModel):
    """Each camera's image ``horizon`` control steps ahead, as the present one warped.

    A small network for each camera predicts three coarse maps from its queries: the position in the present image of each
    pixel of the future one (appearance flow, Zhou et al. 2016), a colour for new pixels, and the mixing weight of that
    colour (as in Finn et al. 2016). Upsampled to the image's size they make the forecast. Only motion has to be learned,
    not appearance.

    cameras: which are forecast, in the order of their queries. queries: F for each camera. grid: height and width of
    the maps, in cells. width: of the network's hidden layer. weight: of the loss term ``foresight``, the squared error of
    pixels from -1 to 1, averaged over cameras. loss_fraction: of the timesteps in a batch that the loss paints in
    training, drawn afresh each time.
    """

    at: Tensor

    def __init__(
        self,
        *,
        contract: Contract,
        dim: int,
        image_size: int,
        cameras: Sequence[str],
        horizon: int = 3,
        queries: int = 2,
        grid: int = 8,
        width: int = 128,
        weight: float = 0.2,
        loss_fraction: float = 1.0,
    ) -> None:
        super().__init__()
        require_cameras(contract, cameras, "appearance_flow")
        if image_size % COARSE:
            raise ConfigurationError(f"appearance_flow: image_size {image_size} must be a multiple of {COARSE}.")
        if not 0 < loss_fraction <= 1:
            raise ConfigurationError(
                f"appearance_flow: loss_fraction must be above 0 and at most 1, not {loss_fraction}."
            )
        self._add_queries(queries * len(cameras), dim)
        self.cameras, self.horizon, self.loss_fraction = (
            tuple(cameras),
            single_horizon("appearance_flow", horizon),
            loss_fraction,
        )
        self.weights = {"foresight": weight}
        self.maps = nn.ModuleList(
            nn.Sequential(
                nn.Flatten(),
                nn.Linear(queries * dim, width),
                nn.ReLU(),
                nn.Linear(width, 6 * grid * grid),
                nn.Unflatten(1, (6, grid, grid)),
            )
            for _ in cameras
        )
        for camera in self.maps:  # hardly anything moves at first
            assert isinstance(camera, nn.Sequential)
            last = camera[3]
            assert isinstance(last, nn.Linear)
            nn.init.normal_(last.weight, std=1e-3)
            nn.init.zeros_(last.bias)
        middle = (torch.arange(image_size) + 0.5) / image_size * 2 - 1
        at = torch.stack(torch.meshgrid(middle, middle, indexing="xy"), dim=-1)
        self.register_buffer("at", at, persistent=False)

    def forward(self, readout: Tensor) -> Tensor:
        """(..., C·F, D) readout → (..., C, 6, grid, grid): flow (x, y), how much to paint, and what (RGB)."""
        lead = readout.shape[:-2]
        by_camera = readout.reshape(-1, len(self.cameras), readout.shape[-2] // len(self.cameras), readout.shape[-1])
        maps = torch.stack([read(by_camera[:, i]) for i, read in enumerate(self.maps)], dim=1)
        return maps.reshape(*lead, *maps.shape[1:])

    def loss(self, readout: Tensor, target: Inputs, valid: Tensor) -> LossTerms:
        """``foresight``: squared error of (B, T, C·F, D) readout, half of it at full size, and that of smaller images."""
        counts = valid_of_cameras(self.cameras, target, valid).flatten(0, 1)  # (N, C)
        readout, valid = readout.flatten(0, 1), valid.flatten()
        painted: Tensor | slice = slice(None)
        if self.training and self.loss_fraction < 1:
            painted = torch.randperm(len(valid), device=valid.device)[: math.ceil(self.loss_fraction * len(valid))]
        maps = self(readout[painted])
        errors = []
        for i, camera in enumerate(self.cameras):
            now, then = (signed(target[time + camera].flatten(0, 1)[painted]) for time in (PRESENT, FUTURE))
            missed = self._paint(maps[:, i], now) - then
            fine, coarse = (F.avg_pool2d(missed, size).square().mean(dim=(1, 2, 3)) for size in (1, COARSE))
            errors.append(fine / 2 + coarse)
        return {"foresight": masked_mean(torch.stack(errors, dim=1), counts[painted])}

    @torch.no_grad()
    def decode_images(self, readout: Tensor, images: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """(N, C·F, D) readout and the images now (N, H, W, 3) → camera → the expected image (N, H, W, 3) uint8."""
        maps = self(readout)
        pictures = {}
        for i, camera in enumerate(self.cameras):
            pictures[camera] = to_images(self._paint(maps[:, i], signed(images[camera])))
        return pictures

    def _paint(self, maps: Tensor, now: Tensor) -> Tensor:
        """(N, 6, grid, grid) maps and the pictures now, (N, 3, H, W) from -1 to 1 → the expected ones."""
        maps = F.interpolate(maps.float(), size=now.shape[-2:], mode="bilinear", align_corners=False)
        flow = torch.nan_to_num(maps[:, :2])  # on a CPU, grid_sample's gradient at NaN reads outside the picture
        source = self.at + 0.5 * flow.permute(0, 2, 3, 1)
        moved = F.grid_sample(now, source, mode="bilinear", padding_mode="border", align_corners=False)
        amount, paint = torch.sigmoid(maps[:, 2:3] - 2), 1.2 * torch.tanh(maps[:, 3:])  # both ends must be in reach
        return moved + amount * (paint - moved)
