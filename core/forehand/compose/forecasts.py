"""Forecasts of a world model, decoded for those who look at them. Needs torch."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from numpy.typing import NDArray
from torch import Tensor

from forehand.compose.parts import FEATURES, IMAGES, DecodesFeatures, DecodesImages, WorldModel
from forehand.policy import Forecast


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
