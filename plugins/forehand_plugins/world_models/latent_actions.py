"""Latent-action world model: what leads from one frame to a later one, learned from pairs of frames alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from forehand.compose.horizons import single_horizon
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
from forehand.errors import ConfigurationError
from forehand.utils.numbers import count
from forehand_plugins.world_models.latent_bottleneck import make_bottleneck
from forehand_plugins.world_models.latent_dynamics import ForwardDynamicsModel, InverseDynamicsModel

LEAST_CHANGE = 1e-4
"""Mean square of the change of a feature, below which a batch is taken as still."""


class LatentActions(WorldModel):
    """A latent action model, and a forecast of the latent action that comes next.

    An inverse model sees two frames, ``horizon`` control steps apart, and says little of them, a *latent action*; a
    forward model finds the later frame from the first and that; so the latent action has to be what the first does not
    show (LAPO, Schmidt and Jiang 2024; Genie, Bruce et al. 2024). They learn from features of one of the policy's
    ``towers``, which must be frozen, and from no action, state or sentence. The queries predict the latent action from
    what a policy sees now, as the first stage of LAPA (Ye et al. 2025); its target sends no gradient back. At run time
    there is no later frame, and the forecast is the forward model's of the predicted latent action.

    cameras: which are seen, together; a window's absent ones are left out. tower: its name in ``towers``. layer_norm: of
    features, without parameters, as ``latent`` compares them; false suits features on one scale, such as pixels. horizon:
    one. queries: F. bottleneck: ``fsq``, finite scalar quantization to ``levels``, whose product is the number of codes;
    or ``gaussian``, ``size`` numbers near a standard normal. train_latents: false keeps both models as they are
    (``init_from``). layers, hidden: convolutions of the forward model, and channels of both. width: of the prediction's
    hidden layer; None: D.

    Loss: ``foresight``, the error of the predicted latent action, with ``weight``; ``reconstruction``, the squared error
    of the later features as a share of their squared change, 1 where nothing is explained, with
    ``reconstruction_weight``; of ``gaussian``, ``kl`` with ``kl_weight``. Of ``fsq``, ``perplexity`` is measured beside
    them: the codes that a batch uses.

    Raises :class:`ConfigurationError` for cameras, towers and options that there are not.
    """

    def __init__(
        self,
        *,
        contract: Contract,
        dim: int,
        image_size: int,
        towers: Mapping[str, FeatureShape],
        cameras: Sequence[str],
        tower: str,
        layer_norm: bool = True,
        horizon: int = 3,
        queries: int = 4,
        bottleneck: str = "fsq",
        levels: Sequence[int] = (5, 5, 5, 5),
        size: int = 4,
        train_latents: bool = True,
        layers: int = 3,
        hidden: int = 64,
        width: int | None = None,
        weight: float = 0.1,
        reconstruction_weight: float = 1.0,
        kl_weight: float = 1e-2,
    ) -> None:
        super().__init__()
        require_cameras(contract, cameras, "latent_actions")
        if not cameras:
            raise ConfigurationError("latent_actions: it sees no camera; name one or more in cameras.")
        count(**{f"latent_actions: {k}": v for k, v in (("queries", queries), ("layers", layers), ("hidden", hidden))})
        self._add_queries(queries, dim)
        self.cameras, self.horizon = tuple(cameras), single_horizon("latent_actions", horizon)
        self.target_features = tuple(f"{tower}.{camera}" for camera in cameras)
        self.layer_norm, self.train_latents = layer_norm, train_latents
        self.shape = towers[tower]
        self.bottleneck = make_bottleneck(bottleneck, levels=levels, size=size, kl_weight=kl_weight)
        self.inverse_model = InverseDynamicsModel(
            self.shape, cameras=len(cameras), hidden=hidden, numbers=self.bottleneck.inputs
        )
        self.forward_model = ForwardDynamicsModel(
            self.shape, cameras=len(cameras), hidden=hidden, latent=self.bottleneck.size, layers=layers
        )
        self.weights = {"foresight": weight}
        if train_latents:
            self.weights |= {"reconstruction": reconstruction_weight, **self.bottleneck.weights}
        self.inverse_model.requires_grad_(train_latents)
        self.forward_model.requires_grad_(train_latents)
        width = width or dim
        self.predict = nn.Sequential(
            nn.Linear(queries * dim, width), nn.GELU(), nn.Linear(width, self.bottleneck.outputs)
        )

    def forward(self, readout: Tensor) -> Tensor:
        """(..., F, D) readout → the prediction of the latent action: (..., sum of levels) logits, or (..., size)."""
        predicted: Tensor = self.predict(readout.flatten(-2))
        return predicted

    def loss(self, readout: Tensor, target: Inputs, valid: Tensor) -> LossTerms:
        """The terms of (B, T, F, D) readout, against features of now and of the future, (B, T, P + 1, W)."""
        now, future, seen = self._frames(target, valid)
        with torch.set_grad_enabled(self.train_latents and torch.is_grad_enabled()):
            numbers = self.inverse_model(now.flatten(0, 1), future.flatten(0, 1))
            there = seen.any(dim=-1)
            latent, terms = self.bottleneck(numbers.unflatten(0, there.shape), there)
            change = self.forward_model(now.flatten(0, 1), latent.flatten(0, 1)).unflatten(0, there.shape).float()
            error = masked_mean((now + change - future).square(), seen)
            terms["reconstruction"] = error / masked_mean((future - now).square(), seen).clamp(min=LEAST_CHANGE)
        missed = self.bottleneck.error(self(readout).float(), latent.detach())
        return {"foresight": masked_mean(missed, there), **terms}

    @torch.no_grad()
    def infer_latent_actions(self, target: Inputs, valid: Tensor) -> tuple[Tensor, Tensor]:
        """See :class:`~forehand.compose.parts.InfersLatentActions`."""
        now, future, seen = self._frames(target, valid)
        there = seen.any(dim=-1)
        numbers = self.inverse_model(now.flatten(0, 1), future.flatten(0, 1)).unflatten(0, there.shape)
        return self.bottleneck(numbers, there)[0], there

    @torch.no_grad()
    def decode_features(self, readout: Tensor, present: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """(N, F, D) readout and the features now (N, P + 1, W) → those of patches behind the predicted latent action."""
        now = torch.stack([self._patches(present[name]) for name in self.target_features], dim=1)
        latent = self.bottleneck.expected(self(readout).float())
        after = (now + self.forward_model(now, latent).float()).unflatten(-2, self.shape.grid)
        return {name: after[:, i] for i, name in enumerate(self.target_features)}

    def _frames(self, target: Inputs, valid: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Patches now and later (B, T, C, P, W), zeros where either is missing, and where they are not, (B, T, C)."""
        seen = valid_of_cameras(self.cameras, target, valid)
        now, future = (
            torch.stack([self._patches(target[time + FEATURES + name]) for name in self.target_features], dim=2)
            * seen[..., None, None]
            for time in (PRESENT, FUTURE)
        )
        return now, future, seen

    def _patches(self, features: Tensor) -> Tensor:
        """(..., P + 1, W) → (..., P, W), without the whole."""
        patches = features[..., :-1, :].float()
        return F.layer_norm(patches, patches.shape[-1:]) if self.layer_norm else patches
