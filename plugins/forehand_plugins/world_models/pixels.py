"""Pixel world model: future images by transposed convolutions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from forehand.compose.horizons import Horizon, horizon_axis, read_horizon
from forehand.compose.parts import FUTURE, Inputs, LossTerms, WorldModel, masked_mean, require_cameras, valid_of_cameras
from forehand.contracts.contract import Contract
from forehand.errors import ConfigurationError
from forehand_plugins.pixel_range import signed, to_images

NARROWEST = 16
"""Channels of the last layers, at least."""


class Pixels(WorldModel):
    """Each camera's image ``horizon`` control steps ahead, decoded from that camera's queries; cameras share the decoder.

    A linear map makes a small feature map of the queries, which transposed convolutions double ``doublings`` times
    (Radford et al. 2016), with group norms of a single group between them.

    cameras: which are forecast, in the order of their queries. horizon: one or several. queries: F for each camera.
    width: channels of the first map; each doubling halves them. weight: of the loss term ``foresight``, the squared error
    of pixels from -1 to 1, averaged over cameras.

    Raises :class:`ConfigurationError` for unknown cameras and for images that cannot be halved ``doublings`` times.
    """

    def __init__(
        self,
        *,
        contract: Contract,
        dim: int,
        image_size: int,
        cameras: Sequence[str],
        horizon: Horizon = 3,
        queries: int = 4,
        width: int = 64,
        doublings: int = 3,
        weight: float = 0.2,
    ) -> None:
        super().__init__()
        require_cameras(contract, cameras, "pixels")
        if min(doublings, queries) < 1 or image_size % 2**doublings:
            raise ConfigurationError(
                f"pixels: image_size {image_size} must be a multiple of 2 to the power of doublings ({doublings}), and "
                f"doublings and queries 1 or more."
            )
        self._add_queries(queries * len(cameras), dim)
        self.cameras, self.horizon = tuple(cameras), read_horizon("pixels", horizon)
        self.weights = {"foresight": weight}
        side = image_size // 2**doublings
        channels = [max(width >> i, NARROWEST) for i in range(doublings)]
        layers: list[nn.Module] = [nn.Linear(queries * dim, channels[0] * side**2), nn.Unflatten(1, (-1, side, side))]
        for before, after in zip(channels, [*channels[1:], 3 * len(self.horizons)], strict=True):
            layers += [nn.GroupNorm(1, before), nn.GELU(), nn.ConvTranspose2d(before, after, 4, stride=2, padding=1)]
        self.decoder = nn.Sequential(*layers)

    def forward(self, readout: Tensor) -> Tensor:
        """(..., C·F, D) readout → (..., C, K, 3, H, W), pixels from -1 to 1."""
        by_camera = readout.unflatten(-2, (len(self.cameras), -1)).flatten(-2)
        pixels: Tensor = self.decoder(by_camera.flatten(0, -2))
        return pixels.unflatten(1, (-1, 3)).unflatten(0, by_camera.shape[:-1])

    def loss(self, readout: Tensor, target: Inputs, valid: Tensor) -> LossTerms:
        """``foresight``: squared error of (B, T, C·F, D) readout against ``future.<camera>`` (B, T, H, W, 3)."""
        forecast = self(readout).float()
        futures = [horizon_axis(target[FUTURE + camera], self.horizon) for camera in self.cameras]
        error = torch.stack(
            [(forecast[:, :, i] - signed(future)).square().mean(dim=(-3, -2, -1)) for i, future in enumerate(futures)],
            dim=2,
        )  # (B, T, C, K)
        return {"foresight": masked_mean(error, valid_of_cameras(self.cameras, target, valid))}

    @torch.no_grad()
    def decode_images(self, readout: Tensor, images: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """(N, C·F, D) readout → camera → the expected image (N, H, W, 3) uint8; (N, K, H, W, 3) of several horizons."""
        pictures = to_images(self(readout).float())
        if len(self.horizons) == 1:
            pictures = pictures.squeeze(2)
        return {camera: pictures[:, i] for i, camera in enumerate(self.cameras)}
