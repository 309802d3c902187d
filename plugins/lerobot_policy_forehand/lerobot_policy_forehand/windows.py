"""Windows of a composed policy from LeRobot's batches, whose offsets are the same for all of an observation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from forehand.data.window_spec import ACTIONS, FUTURE, STATE, WindowSpec, camera_of, mask_of
from forehand.errors import ConfigurationError
from forehand.utils.images import resize

STATE_KEY, ACTION_KEY, IMAGE_PREFIX = "observation.state", "action", "observation.images."


def to_window(
    batch: dict[str, Any], spec: WindowSpec, observed: Sequence[int], acted: Sequence[int]
) -> dict[str, dict[str, Any]]:
    """LeRobot's batch in the form of :class:`forehand.data.windows.WindowDataset`'s, observation and target.

    batch: ``observation.images.<camera>`` (B, n, 3, H, W) from 0 to 1 or uint8, ``observation.state`` (B, n, S) and
    ``action`` (B, m, A), with their ``…_is_pad``; observed, acted: the offsets that n and m stand for. What comes later
    than a timestep goes into the targets alone.
    """
    columns, frames = {offset: i for i, offset in enumerate(observed)}, {}
    for camera in spec.cameras:
        frames[camera] = _frames(batch[IMAGE_PREFIX + camera], spec)
    observation: dict[str, Any] = {"instruction": list(batch["task"])}
    for key, offsets in spec.observation.items():
        index = [columns[offset] for offset in offsets]
        camera = camera_of(key)
        if camera is None and key != STATE:
            raise ConfigurationError(f"LeRobot's batches hold no {key!r}, which the policy takes.")
        observation[key] = (batch[STATE_KEY] if camera is None else frames[camera])[:, index]
    timesteps = [columns[offset] for offset in range(spec.timesteps or 1)]
    target: dict[str, Any] = {"valid": ~batch[f"{STATE_KEY}_is_pad"][:, timesteps]}
    actions = {offset: i for i, offset in enumerate(acted)}
    for key in spec.target:
        offsets = spec.target_offsets(key)
        if key in ACTIONS:
            index, values, missing = _where(actions, offsets), batch[ACTION_KEY], batch[f"{ACTION_KEY}_is_pad"]
        elif key.startswith(FUTURE):
            camera = str(camera_of(key))
            index, values = _where(columns, offsets), frames[camera]
            missing = batch[f"{IMAGE_PREFIX}{camera}_is_pad"]
        else:
            raise ConfigurationError(f"LeRobot's batches hold no target {key!r}, which the policy takes.")
        target[key], target[mask_of(key)] = values[:, index], ~missing[:, index]
    return {"observation": observation, "target": target}


def _where(columns: dict[int, int], offsets: np.ndarray) -> Tensor:
    return torch.from_numpy(np.vectorize(columns.__getitem__, otypes=[np.int64])(offsets))


def _frames(images: Tensor, spec: WindowSpec) -> Tensor:
    """(B, n, 3, H, W) from 0 to 1, or uint8 → (B, n, h, w, 3) uint8 of the size that the policy takes."""
    levels = images if images.dtype == torch.uint8 else (images * 255).round().clamp(0, 255).to(torch.uint8)
    pixels = levels.movedim(-3, -1)
    if spec.image_size is None:
        return pixels
    flat = np.ascontiguousarray(pixels.flatten(0, 1).cpu().numpy())
    resized = torch.from_numpy(resize(flat, spec.image_size, spec.resize)).to(images.device)
    return resized.unflatten(0, tuple(pixels.shape[:2]))
