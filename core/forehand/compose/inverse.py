"""Inverse dynamics: the actions between the frames of a window. Needs torch.

A composition with ``inverse_dynamics: true`` has the targets of any other, but for the time of its actions: the chunk of
a timestep t is that of the control steps t - chunk to t - 1, which led to the frame at t. Its encoders see the frames of
the window up to t, so the timesteps of one window teach every distance from one step up to the chunk. A robot cannot be
driven with it; it finds the actions of what was recorded.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from forehand.errors import ConfigurationError

if TYPE_CHECKING:
    from forehand.compose.composition import Composition

ACTS_NOT = (
    "this policy is a model of inverse dynamics: it finds the actions that led from one frame to another, and has none "
    "for a robot to do. Train another policy on the actions that it finds."
)


def action_offsets(chunk: int) -> range:
    """The control steps of a timestep's chunk, relative to it: -chunk to -1."""
    return range(-chunk, 0)


def between_frames(mask: Tensor) -> Tensor:
    """(T, chunk) bool, which actions of each timestep lie between frames of the window; ``mask``: (B, T, chunk)."""
    steps, chunk = mask.shape[1:]
    when = torch.arange(steps, device=mask.device)[:, None] + torch.tensor(action_offsets(chunk), device=mask.device)
    return when >= 0


@torch.inference_mode()
def recover_actions(composition: Composition, observation: Mapping[str, Any]) -> Tensor:
    """The actions that led to each timestep of windows, (B, T, chunk, A) float32, in the contract's units.

    observation: that of a batch of windows (:class:`forehand.data.windows.WindowDataset`), on the composition's device.
    Actions before a window's first frame (:func:`between_frames`) mean nothing. It is run in evaluation mode.
    """
    head = composition.action_head
    assert composition.inverse_dynamics
    assert head is not None
    with _evaluating(composition):
        readout = composition.readouts(observation)[head.group.name].float()
        with torch.autocast(composition.device.type, enabled=False):  # as in training
            actions: Tensor = composition.normalize_action.inverse(head(readout)).float()
    return actions


def require_inverse(policy: Any, name: str) -> None:
    """Raise :class:`ConfigurationError` unless ``policy``, called ``name``, is a model of inverse dynamics."""
    if not getattr(policy, "inverse_dynamics", False):
        raise ConfigurationError(
            f"{name} is no model of inverse dynamics: it says what to do next, not what was done. Train one with: "
            f"forehand train policy=inverse_dynamics dataset=…"
        )


@contextmanager
def _evaluating(module: nn.Module) -> Iterator[None]:
    training = module.training
    module.eval()
    try:
        yield
    finally:
        module.train(training)
