"""Forecast errors: what was foreseen for a moment against what came, beside the error of "nothing changes"."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from forehand.policy import Forecast
from forehand.robot import Observation
from forehand.utils.feature_colours import FeatureColours
from forehand.utils.images import resize

Values = Mapping[str, NDArray[Any]]
FeaturesOf = Callable[[Observation], Mapping[str, NDArray[np.float32]]]


@dataclass(frozen=True)
class ForecastError:
    """How far one camera's forecast was from what came, ``horizon`` control steps after it was made.

    foreseen: (h, w, 3) uint8, a picture of it. heat: (h, w) float32, the mean absolute difference over channels: of
    intensities from 0 to 1, or of layer-normed features of patches. error: its mean; unchanged: the mean that the moment
    of the forecast itself would have had, had nothing changed.
    """

    horizon: int
    foreseen: NDArray[np.uint8]
    heat: NDArray[np.float32]
    error: float
    unchanged: float


class ForecastErrors:
    """Keeps the farthest forecast of each step until its time has come; one for each episode.

    features: the features of an observation that forecasts of features are compared with (``<tower>.<camera>`` → (h, w,
    W)); without it, only forecasts of images are. method: how the policy resizes images
    (:func:`forehand.utils.images.resize`).
    """

    def __init__(self, features: FeaturesOf | None = None, method: str = "area") -> None:
        self._features, self._method = features, method
        self._waiting: dict[int, tuple[Forecast, Values]] = {}
        self._colours: dict[str, FeatureColours] = {}

    def add(self, step: int, observation: Observation, forecasts: Sequence[Forecast]) -> None:
        """Keep what was foreseen at ``step``, upon its ``observation``."""
        if forecasts:
            last = forecasts[-1]
            self._waiting[step + last.horizon] = last, self._values(observation, last)

    def pop(self, step: int, observation: Observation) -> dict[str, ForecastError]:
        """The errors at ``step``, whose ``observation`` is what came, by camera; {} where nothing was foreseen for it."""
        if (due := self._waiting.pop(step, None)) is None:
            return {}
        forecast, before = due
        came = self._values(observation, forecast)
        found: dict[str, ForecastError] = {}
        for camera, name, expected in _by_camera(forecast):
            if name in came:
                heat, still = difference(expected, came[name]), difference(before[name], came[name])
                error = ForecastError(
                    forecast.horizon, self.picture(name, expected), heat, float(heat.mean()), float(still.mean())
                )
                found[camera] = error
        return found

    def picture(self, name: str, values: NDArray[Any]) -> NDArray[np.uint8]:
        """A forecast, an image or features, as a picture (h, w, 3); ``name``: its own, as in :class:`Forecast`."""
        if values.dtype == np.uint8:
            return values
        return self._colours.setdefault(name, FeatureColours(values))(values)

    def pictures(self, forecasts: Sequence[Forecast]) -> dict[str, NDArray[np.uint8]]:
        """The farthest of ``forecasts`` as pictures by camera."""
        last = _by_camera(forecasts[-1]) if forecasts else ()
        return {camera: self.picture(name, values) for camera, name, values in last}

    def _values(self, observation: Observation, like: Forecast) -> Values:
        """What ``observation`` has in place of each part of a forecast."""
        found: dict[str, NDArray[Any]] = {
            camera: resize(observation.images[camera][None], (picture.shape[0], picture.shape[1]), self._method)[0]
            for camera, picture in like.images.items()
        }
        return {**found, **self._features(observation)} if like.features and self._features else found


def _by_camera(forecast: Forecast) -> list[tuple[str, str, NDArray[Any]]]:
    """Camera, name and values of each part of a forecast; images come last, so that they stand before features."""
    features = [(name.partition(".")[2], name, values) for name, values in forecast.features.items()]
    return [*features, *((camera, camera, picture) for camera, picture in forecast.images.items())]


def difference(first: NDArray[Any], second: NDArray[Any]) -> NDArray[np.float32]:
    """The mean absolute difference over channels, (h, w): of images (h, w, 3) uint8 from 0 to 1, or of features."""
    scale = 255.0 if first.dtype == np.uint8 else 1.0
    return (np.abs(first.astype(np.float32) - second.astype(np.float32)).mean(axis=-1) / scale).astype(np.float32)
