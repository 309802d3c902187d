"""Latent actions of recorded frames, by a composition whose world model infers them. Needs torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from forehand.compose.composition import Composition
from forehand.compose.losses import present_target, world_model_target
from forehand.compose.parts import InfersLatentActions


def infers_latent_actions(policy: Any) -> bool:
    """Whether ``policy`` is a composition with an inverse model of latent actions."""
    return isinstance(policy, Composition) and isinstance(policy.world_model, InfersLatentActions)


@torch.inference_mode()
def infer_latent_actions(composition: Composition, batch: Mapping[str, Any]) -> tuple[Tensor, Tensor]:
    """The latent action that led from each timestep of a batch of windows to its future, and which there are.

    batch: as training has it (:attr:`~forehand.compose.policy.ComposedPolicy.window`), on the composition's device. It
    is to be in evaluation mode. Returns (B, T, n) float32 and (B, T) bool; they come from the images alone.
    """
    model = composition.world_model
    assert isinstance(model, InfersLatentActions)
    target = present_target(composition, batch["observation"], batch["target"])
    latent, there = model.infer_latent_actions(*world_model_target(composition, target, target["valid"]))
    return latent.float(), there
