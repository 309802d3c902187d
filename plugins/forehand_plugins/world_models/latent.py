"""Latent world model: future features of a shared vision tower."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from forehand.compose.horizons import Horizon, horizon_axis, read_horizon
from forehand.compose.parts import (
    FEATURES,
    FUTURE,
    PRESENT,
    FeatureShape,
    Inputs,
    LossTerms,
    WorldModel,
    masked_mean,
    require_cameras,
    valid_of_cameras,
)
from forehand.contracts.contract import Contract
from forehand.errors import ConfigurationError, nearest
from forehand_plugins.world_models.convolutional_decoder import ConvolutionalDecoder
from forehand_plugins.world_models.query_decoder import QueryDecoder

LOSSES = ("smooth_l1", "cosine")
DECODERS = ("attention", "convolution")
FEATURE_KINDS = ("patches", "whole", "both")


class Latent(WorldModel):
    """Each camera's features ``horizon`` control steps ahead, those of one of the policy's ``towers``.

    A world model on frozen features of patches, as DINO-WM (Zhou et al. 2024). Features are layer-normed without
    parameters before they are compared, as in data2vec (Baevski et al. 2022). The tower must be frozen: a target that is
    trained along can collapse to a constant.

    cameras: which are forecast, in the order of their queries. tower: its name in the policy's ``towers``. horizon: one
    or several. queries: F for each camera. features: ``patches``, ``whole`` (the feature of the whole image), or
    ``both``, each half of the loss; only patches can be shown. residual: predict the change from the present features.
    loss: ``smooth_l1`` (of each number) or ``cosine`` (one minus the cosine similarity). decoder: ``attention``
    (:class:`~forehand_plugins.world_models.query_decoder.QueryDecoder`, of ``layers``, ``heads`` and ``width``, by
    default D), or ``convolution``, which is faster and reads the present features of patches, too
    (:class:`~forehand_plugins.world_models.convolutional_decoder.ConvolutionalDecoder`, of ``width``, by default 32).
    weight: of the loss term ``foresight``, averaged over cameras.

    Raises :class:`ConfigurationError` for cameras, towers and options that there are not.
    """

    token_weights: Tensor

    def __init__(
        self,
        *,
        contract: Contract,
        dim: int,
        image_size: int,
        towers: Mapping[str, FeatureShape],
        cameras: Sequence[str],
        tower: str,
        horizon: Horizon = 3,
        queries: int = 4,
        features: str = "patches",
        residual: bool = True,
        loss: str = "smooth_l1",
        decoder: str = "attention",
        layers: int = 2,
        heads: int = 4,
        width: int | None = None,
        weight: float = 1.0,
    ) -> None:
        super().__init__()
        require_cameras(contract, cameras, "latent")
        given = (("loss", loss, LOSSES), ("features", features, FEATURE_KINDS), ("decoder", decoder, DECODERS))
        for name, value, known in given:
            if value not in known:
                raise ConfigurationError(f"latent: unknown {name} {value!r}. {nearest(value, known)}")
        if decoder == "convolution" and features != "patches":
            raise ConfigurationError("latent: decoder=convolution forecasts features of patches; set features=patches.")
        self._add_queries(queries * len(cameras), dim)
        self.cameras, self.horizon = tuple(cameras), read_horizon("latent", horizon)
        self.target_features = tuple(f"{tower}.{camera}" for camera in cameras)
        self.weights = {"foresight": weight}
        self.features, self.residual, self.loss_name = features, residual, loss
        self.shape = towers[tower]
        token_weights = _token_weights(features, self.shape.patches)
        self.register_buffer("token_weights", token_weights, persistent=False)
        self.decoder: QueryDecoder | ConvolutionalDecoder
        if decoder == "convolution":
            self.decoder = ConvolutionalDecoder(
                "latent",
                dim=dim,
                cameras=len(cameras),
                queries=queries,
                features=self.shape,
                horizons=len(self.horizons),
                width=width or 32,
            )
            return
        width = width or dim
        self.decoder = QueryDecoder(
            "latent",
            dim=dim,
            queries=queries,
            positions=len(token_weights),
            horizons=len(self.horizons),
            width=width,
            layers=layers,
            heads=heads,
        )
        self.predict = nn.Linear(width, self.shape.width)
        nn.init.normal_(self.predict.weight, std=1e-3 if residual else width**-0.5)  # hardly anything changes at first
        nn.init.zeros_(self.predict.bias)

    def forward(self, readout: Tensor) -> Tensor:
        """(..., C·F, D) readout → (..., C, K, P', W), or what modulates the convolutions, (..., C, n)."""
        made: Tensor = self.decoder(readout)
        return made if isinstance(self.decoder, ConvolutionalDecoder) else self.predict(made)

    def loss(self, readout: Tensor, target: Inputs, valid: Tensor) -> LossTerms:
        """``foresight``: the error of (B, T, C·F, D) readout, against features of the future (B, T, P + 1, W)."""
        with torch.no_grad():
            names = [FEATURES + name for name in self.target_features]
            future = self._stack([horizon_axis(target[FUTURE + name], self.horizon) for name in names])
            now = self._stack([target[PRESENT + name][:, :, None] for name in names]).squeeze(3)
        forecast = self._forecast(readout, now)
        if self.loss_name == "cosine":
            error = 1 - F.cosine_similarity(forecast, future, dim=-1)
        else:
            error = F.smooth_l1_loss(forecast, future, reduction="none").mean(dim=-1)
        error = (error * self.token_weights).sum(dim=-1)  # (B, T, C, K)
        return {"foresight": masked_mean(error, valid_of_cameras(self.cameras, target, valid))}

    @torch.no_grad()
    def decode_features(self, readout: Tensor, present: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """(N, C·F, D) readout and the features now (N, P + 1, W) → the layer-normed features of patches by name.

        (N, h, w, W) of one horizon, (N, K, h, w, W) of several; nothing where ``features`` is ``whole``.
        """
        if self.features == "whole":
            return {}
        forecast = self._expected(readout, [self._selected(present[n]) for n in self.target_features])
        patches = forecast[..., : self.shape.patches, :].unflatten(-2, self.shape.grid)
        if len(self.horizons) == 1:
            patches = patches.squeeze(2)
        return {name: patches[:, i] for i, name in enumerate(self.target_features)}

    @property
    def forecast_keys(self) -> tuple[str, ...]:
        """``features.<tower>.<camera>`` of each camera; none where ``features`` is ``whole``."""
        return () if self.features == "whole" else tuple(FEATURES + name for name in self.target_features)

    def forecast_inputs(self, readout: Tensor, present: Inputs) -> dict[str, Tensor]:
        """(N, C·F, D) readout and the features now (N, P + 1, W) → layer-normed ones, (N, 1 + K, P + 1, W).

        Where only patches are forecast, their mean stands for the whole.
        """
        now = [self._selected(present[FEATURES + name]) for name in self.target_features]
        expected, found = self._expected(readout, now), dict[str, Tensor]()
        for i, key in enumerate(self.forecast_keys):
            both = torch.cat([now[i][:, None], expected[:, i]], dim=1)
            if self.features == "patches":
                both = torch.cat([both, both.mean(dim=-2, keepdim=True)], dim=-2)
            found[key] = both
        return found

    def _forecast(self, readout: Tensor, now: Tensor) -> Tensor:
        """(..., C·F, D) readout and what is selected now, (..., C, P', W) → the forecast, (..., C, K, P', W)."""
        made = self(readout)
        if isinstance(self.decoder, ConvolutionalDecoder):
            made = self.decoder.change(made, now)
        forecast: Tensor = made.float()
        return forecast + now.unsqueeze(-3) if self.residual else forecast

    def _expected(self, readout: Tensor, now: Sequence[Tensor]) -> Tensor:
        """(N, C·F, D) readout and what is selected of each camera now, (N, P', W) → the forecast, (N, C, K, P', W)."""
        forecast = self._forecast(readout, torch.stack(list(now), dim=1))
        if self.loss_name == "cosine":  # which leaves their length open
            forecast = F.layer_norm(forecast, forecast.shape[-1:])
        return forecast

    def _stack(self, features: Sequence[Tensor]) -> Tensor:
        """(B, T, K, P + 1, W) of each camera → (B, T, C, K, P', W), normalized."""
        return torch.stack([self._selected(camera) for camera in features], dim=2)

    def _selected(self, features: Tensor) -> Tensor:
        """(..., P + 1, W) → those of the P' tokens that are forecast, layer-normed."""
        kept = {"patches": slice(None, -1), "whole": slice(-1, None), "both": slice(None)}[self.features]
        return F.layer_norm(features[..., kept, :].float(), features.shape[-1:])


def _token_weights(features: str, patches: int) -> Tensor:
    """How much each of the P' tokens counts in the loss, (P',); 1 in all."""
    if features == "whole":
        return torch.ones(1)
    shares = torch.full((patches,), 1 / patches)
    return shares if features == "patches" else torch.cat([shares, torch.ones(1)]) / 2
