"""Forecasts of a world model, decoded for those who look at them. Needs torch."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from forehand.compose.parts import FEATURES, IMAGES, DecodesFeatures, DecodesImages, WorldModel
from forehand.policy import Forecast
from forehand.robot import Observation

if TYPE_CHECKING:
    from forehand.compose.policy import ComposedPolicy


def decode_forecasts(
    model: WorldModel, readout: Tensor, inputs: Mapping[str, Tensor], absent: Collection[str] = ()
) -> Sequence[tuple[Forecast, ...]]:
    """What ``model`` can show of its forecast for each of N sessions, the nearest horizon first.

    readout: (N, count, D); inputs: ``images.<camera>`` (N, H, W, 3) of now and, where features are forecast,
    ``features.<tower>.<camera>`` (N, P + 1, W). absent: cameras that the robot does not have, of which nothing is shown.
    """
    pictures: Mapping[str, Tensor] = {}
    features: Mapping[str, Tensor] = {}
    if isinstance(model, DecodesImages):
        drawn = model.decode_images(readout, {c: inputs[IMAGES + c] for c in model.cameras})
        pictures = {camera: picture for camera, picture in drawn.items() if camera not in absent}
    if isinstance(model, DecodesFeatures):
        present = {name: inputs[FEATURES + name] for name in model.target_features}
        expected = model.decode_features(readout, present)
        features = {name: v.float() for name, v in expected.items() if name.partition(".")[2] not in absent}
    horizons = model.horizons
    shown, felt = _by_horizon(pictures, len(horizons)), _by_horizon(features, len(horizons))
    if not (pictures or features):
        return [()] * len(readout)
    return [
        tuple(
            Forecast(horizon, {c: p[i][k] for c, p in shown.items()}, {n: f[i][k] for n, f in felt.items()})
            for k, horizon in enumerate(horizons)
        )
        for i in range(len(readout))
    ]


def _by_horizon(values: Mapping[str, Tensor], horizons: int) -> dict[str, NDArray[Any]]:
    """(N, K, ...) arrays, also of a single horizon, which has no axis of its own."""
    return {name: (v if horizons > 1 else v[:, None]).cpu().numpy() for name, v in values.items()}


@torch.inference_mode()
def patch_features(policy: ComposedPolicy, observation: Observation) -> dict[str, NDArray[np.float32]]:
    """The features that ``policy`` forecasts, as they are now: ``<tower>.<camera>`` → (h, w, W), layer-normed likewise.

    {} for a policy that forecasts none.
    """
    names = policy.target_features
    inputs = policy.inputs([observation], [""])
    found = policy.towers.features([FEATURES + name for name in names], inputs)
    patches = {}
    for name in names:
        values = F.layer_norm(found[FEATURES + name][0, :-1].float(), found[FEATURES + name].shape[-1:])
        patches[name] = values.unflatten(0, policy.towers.shapes[name.partition(".")[0]].grid).cpu().numpy()
    return patches
