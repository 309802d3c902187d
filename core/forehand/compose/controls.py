"""Controls for ablations of foresight: the world model's loss without the future of its own scene. Needs torch.

A composed policy's ``foresight_control`` names one. Parameters, loss and the timesteps that count stay the same:

``present_frame``
    Every future is the present one: capacity and reconstruction, without looking ahead. A world model that predicts a
    change of the present (``appearance_flow``; ``latent`` and ``state`` unless ``residual`` is false) has next to nothing
    to learn then.
``shuffled_future``
    The future is that of another window of the batch, at the same timestep: what futures look like, without what they
    depend on. Which window is drawn by torch's default generator in training, and is the one before it in eval mode. A
    batch of one window has no other, and gives no loss.

A policy trained under a control shows no forecasts, because it has none of its own scene.
"""

from __future__ import annotations

import torch
from torch import Tensor

from forehand.compose.parts import FUTURE, PRESENT, Inputs
from forehand.errors import ConfigurationError, nearest

PRESENT_FRAME, SHUFFLED_FUTURE = "present_frame", "shuffled_future"
CONTROLS = (PRESENT_FRAME, SHUFFLED_FUTURE)


def require_control(name: str | None) -> None:
    """Raise :class:`ConfigurationError` unless ``name`` is None or one of :data:`CONTROLS`."""
    if name is not None and name not in CONTROLS:
        raise ConfigurationError(f"foresight_control: there is no {name!r}. {nearest(name, CONTROLS)} Or use null.")


def controlled_target(control: str | None, target: Inputs, *, training: bool) -> Inputs:
    """A world model's ``target`` under a control.

    target: ``future.<key>`` (B, T, ...) or, of several horizons, (B, T, K, ...); ``present.<key>`` (B, T, ...); and
    ``future_valid`` (B, T) or (B, T, K) bool.
    """
    if control == PRESENT_FRAME:
        return {**target, **_present_frames(target)}
    if control == SHUFFLED_FUTURE:
        valid = target["future_valid"]
        if len(valid) == 1:
            return {**target, "future_valid": torch.zeros_like(valid)}
        other = _derangement(len(valid), training).to(valid.device)
        moved = {key: target[key][other] for key in target if key.startswith(FUTURE) or key == "future_valid"}
        for key in moved:
            if key.startswith(FUTURE) and key.endswith("_valid"):  # a camera that either window lacks is not compared
                moved[key] = moved[key] & target[key]
        return {**target, **moved}
    return target


def _present_frames(target: Inputs) -> dict[str, Tensor]:
    """``future.<key>`` that are the present, for each ``present.<key>``."""
    horizons = target["future_valid"].shape[2:]
    frames = {FUTURE + key.removeprefix(PRESENT): target[key] for key in target if key.startswith(PRESENT)}
    if not horizons:
        return frames
    return {key: now[:, :, None].expand(*now.shape[:2], *horizons, *now.shape[2:]) for key, now in frames.items()}


def _derangement(count: int, random: bool) -> Tensor:
    """An order of ``count`` windows, one cycle, in which none is where it was."""
    order = torch.randperm(count) if random else torch.arange(count)
    other = torch.empty_like(order)
    other[order] = order.roll(1)
    return other
