"""Discrete-token world model: future images as codes of their patches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from forehand.compose.horizons import Horizon, horizon_axis, read_horizon
from forehand.compose.parts import FUTURE, Inputs, LossTerms, WorldModel, masked_mean, require_cameras, valid_of_cameras
from forehand.contracts.contract import Contract
from forehand_plugins.pixel_range import signed, to_images
from forehand_plugins.world_models.image_tokenizer import ImageTokenizer
from forehand_plugins.world_models.query_decoder import QueryDecoder


class DiscreteTokens(WorldModel):
    """Each camera's image ``horizon`` control steps ahead, as a class for every patch: its code by a tokenizer.

    The tokenizer (:class:`~forehand_plugins.world_models.image_tokenizer.ImageTokenizer`) is trained along, by its own
    loss alone: codes are targets without gradient. One that was trained beforehand, in a policy of the same sizes, is
    loaded with ``init_from`` and kept with ``train_tokenizer: false``.

    cameras: which are forecast, in the order of their queries. horizon: one or several. queries: F for each camera.
    patch: height and width of a patch in pixels. levels: of the finite scalar quantization; their product is the number
    of codes (the default is that of Mentzer et al. for 1,000). tokenizer_width: of the tokenizer's hidden layers. layers,
    heads, width: of the decoder (:class:`~forehand_plugins.world_models.query_decoder.QueryDecoder`); ``width`` defaults
    to D. weight: of the loss term ``foresight``, the cross-entropy of a code, averaged over patches and cameras.
    reconstruction_weight: of the term ``reconstruction``, the tokenizer's squared error of pixels from -1 to 1.

    Raises :class:`ConfigurationError` for unknown cameras and for sizes that do not fit each other.
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
        patch: int = 8,
        levels: Sequence[int] = (8, 5, 5, 5),
        tokenizer_width: int = 64,
        train_tokenizer: bool = True,
        layers: int = 2,
        heads: int = 4,
        width: int | None = None,
        weight: float = 0.1,
        reconstruction_weight: float = 1.0,
    ) -> None:
        super().__init__()
        require_cameras(contract, cameras, "discrete_tokens")
        self._add_queries(queries * len(cameras), dim)
        self.cameras, self.horizon = tuple(cameras), read_horizon("discrete_tokens", horizon)
        self.train_tokenizer = train_tokenizer
        self.weights = {"foresight": weight}
        if train_tokenizer:
            self.weights["reconstruction"] = reconstruction_weight
        self.tokenizer = ImageTokenizer(image_size=image_size, patch=patch, width=tokenizer_width, levels=levels)
        self.tokenizer.requires_grad_(train_tokenizer)
        width = width or dim
        self.decoder = QueryDecoder(
            "discrete_tokens",
            dim=dim,
            queries=queries,
            positions=self.tokenizer.patches,
            horizons=len(self.horizons),
            width=width,
            layers=layers,
            heads=heads,
        )
        self.predict = nn.Linear(width, self.tokenizer.quantize.codes)

    def forward(self, readout: Tensor) -> Tensor:
        """(..., C·F, D) readout → (..., C, K, P, codes) logits."""
        logits: Tensor = self.predict(self.decoder(readout))
        return logits

    def loss(self, readout: Tensor, target: Inputs, valid: Tensor) -> LossTerms:
        """``foresight`` of (B, T, C·F, D) readout against ``future.<camera>`` (B, T, H, W, 3), and ``reconstruction``."""
        with torch.no_grad():
            futures = [horizon_axis(target[FUTURE + camera], self.horizon) for camera in self.cameras]
            pixels = signed(torch.stack(futures, dim=2))  # (B, T, C, K, 3, H, W)
        with torch.set_grad_enabled(self.train_tokenizer and torch.is_grad_enabled()):
            restored, codes = self.tokenizer(pixels.flatten(0, 3))
        codes = codes.unflatten(0, pixels.shape[:4])
        logits = self(readout).float()
        surprise = F.cross_entropy(logits.flatten(0, -2), codes.flatten(), reduction="none").view_as(codes)
        terms = {"foresight": surprise.mean(dim=-1)}
        if self.train_tokenizer:
            error = (restored - pixels.flatten(0, 3)).square().mean(dim=(1, 2, 3))
            terms["reconstruction"] = error.unflatten(0, pixels.shape[:4])
        counts = valid_of_cameras(self.cameras, target, valid)
        return {name: masked_mean(values, counts) for name, values in terms.items()}

    @torch.no_grad()
    def decode_images(self, readout: Tensor, images: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """(N, C·F, D) readout → camera → the image of the likeliest codes, (N, H, W, 3) or (N, K, H, W, 3) uint8."""
        codes = self(readout).argmax(dim=-1)
        pictures = to_images(self.tokenizer.decode(codes.flatten(0, 2))).unflatten(0, codes.shape[:3])
        if len(self.horizons) == 1:
            pictures = pictures.squeeze(2)
        return {camera: pictures[:, i] for i, camera in enumerate(self.cameras)}
