"""Training loss of a composition: what its queries have read, against a window's targets. Needs torch."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from forehand.compose.composition import Composition
from forehand.compose.controls import controlled_target
from forehand.compose.inverse import between_frames
from forehand.compose.parts import (
    ACTIONS_KNOWN,
    FEATURES,
    FUTURE,
    IMAGES,
    PRESENT,
    STATE,
    STATE_VALID,
    Inputs,
    IterativeActionHead,
    LossTerms,
)
from forehand.compose.validity import valid_by_camera
from forehand.errors import ConfigurationError


def window_loss(composition: Composition, observation: Inputs, target: Inputs) -> tuple[Tensor, LossTerms]:
    """The loss of a batch of windows and its terms, each a scalar; see :mod:`forehand.data.windows`.

    In training, images go through the composition's augmentations first. Raises :class:`ConfigurationError` where numbers
    of actions are unknown, and the action head is not :attr:`~forehand.compose.parts.ActionHead.partial`.
    """
    steps = max(1, target["valid"].shape[1] - composition.lookahead)  # those behind have no goal, and give no loss
    target = present_target(composition, observation, target)
    queries: dict[str, Tensor] = {}
    head = composition.action_head
    if ACTIONS_KNOWN in target and not composition.learns_partial_actions:
        raise ConfigurationError(
            "Some numbers of actions are unknown (labelled_fields), which this policy's action head cannot leave out."
        )
    if head is not None:
        target["actions"] = composition.predicted_actions(target["actions"], observation[STATE])
        if composition.delta_actions is not None and STATE_VALID in observation:
            target["actions_valid"] = target["actions_valid"] & observation[STATE_VALID][..., None]
        if composition.inverse_dynamics:
            target["actions_valid"] = target["actions_valid"] & between_frames(target["actions_valid"])
    if isinstance(head, IterativeActionHead):
        normalized = composition.normalize_action(target["actions"][:, :steps])
        queries[head.group.name], drawn = head.training_tokens({"actions": normalized})
        target = {**target, **drawn}
    if composition.training:
        horizons = composition.world_model.horizons if composition.world_model else ()
        observation, target = composition.augmentations(observation, target, horizons)
    return composition_loss(composition, composition.readouts(observation, steps, queries), target)


def composition_loss(
    composition: Composition, readouts: Mapping[str, Tensor], target: Inputs
) -> tuple[Tensor, LossTerms]:
    """The loss of readouts at a window's first timesteps, or all, and the terms it is the weighted sum of.

    readouts: query group → (B, steps, count, D). target: what a window holds of it
    (:class:`forehand.data.windows.WindowDataset`), its actions as the action head predicts them, and ``present.<camera>``
    (B, T, H, W, 3) of the forecast cameras.
    """
    valid = target["valid"]
    ahead = composition.lookahead
    if ahead and composition.beyond_end is None:  # what has no goal inside its episode gives no loss
        valid = valid & F.pad(valid[:, ahead:], (0, min(ahead, valid.shape[1])))
    steps = next(iter(readouts.values())).shape[1]
    valid, target = valid[:, :steps], {key: values[:, :steps] for key, values in target.items()}
    terms: LossTerms = {}
    if (model := composition.world_model) is not None:
        compared, there = world_model_target(composition, target, valid)
        terms |= model.loss(readouts[model.group.name], compared, there)
    if (head := composition.action_head) is not None:
        wanted = valid[..., None] & target["actions_valid"]
        actions = {**target, "actions": composition.normalize_action(target["actions"])}
        with torch.autocast(valid.device.type, enabled=False):  # it costs nothing, and actions are fine motions
            terms |= head.loss(readouts[head.group.name].float(), actions, wanted)
    total = torch.zeros((), device=valid.device)
    for part in (model, head):
        for name, weight in part.weights.items() if part is not None else ():
            total = total + weight * terms[name]
    return total, terms


def world_model_target(composition: Composition, target: Inputs, valid: Tensor) -> tuple[Inputs, Tensor]:
    """What a composition's world model is compared with, and what of it counts: arguments of :meth:`WorldModel.loss`.

    target: as for :func:`composition_loss`. valid: (B, T) bool, the timesteps that count.
    """
    model = composition.world_model
    assert model is not None
    target = {**target, **_target_vectors(composition, target)}
    compared = controlled_target(composition.foresight_control, target, training=composition.training)
    future = compared["future_valid"]
    there = valid.reshape(valid.shape + (1,) * (future.ndim - valid.ndim)) & future
    masks, there = valid_by_camera(model.cameras, compared, there)
    return {**compared, **_target_features(composition, compared), **masks}, there


def present_target(composition: Composition, observation: Inputs, target: Inputs) -> dict[str, Any]:
    """A window's ``target`` with what its world model needs of the present: ``present.<camera>``, and features."""
    present = {PRESENT + camera: observation[IMAGES + camera] for camera in composition.forecast_cameras}
    present |= {PRESENT + key: value for key, value in observation.items() if key.startswith(FEATURES)}
    return {**target, **present}


def _target_vectors(composition: Composition, target: Inputs) -> dict[str, Tensor]:
    """Vectors that the world model is compared with, of now and of the future, and which of the future exist."""
    model, found = composition.world_model, dict[str, Tensor]()
    assert model is not None
    for key in model.target_vectors:
        values, there = target[key].float(), target[f"{key}_valid"][:, :, 1:]
        if key == STATE:
            values = composition.normalize_state(values)
        several = len(model.horizons) > 1
        found[PRESENT + key] = values[:, :, 0]
        found[FUTURE + key] = values[:, :, 1:] if several else values[:, :, 1]
        found["future_valid"] = there if several else there[..., 0]
    return found


@torch.no_grad()
def _target_features(composition: Composition, target: Inputs) -> dict[str, Tensor]:
    """Features of the shared towers that the world model is compared with, of now and of the future."""
    features: dict[str, Tensor] = {}
    for key, time in product((FEATURES + name for name in composition.target_features), (PRESENT, FUTURE)):
        known = target.get(time + key)  # computed beforehand
        images = time + composition.towers.camera(key)
        features[time + key] = composition.towers.of(key, target[images]) if known is None else known.float()
    return features
