"""Past forecasts: the images that a policy predicted for the present step."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from forehand.policy import Forecast
from forehand.running.control_step import Step
from forehand.utils.feature_colours import FeatureColours

Pictures = Mapping[str, NDArray[np.uint8]]


class ForecastBuffer:
    """Keeps forecasts until their time has come, so that they can stand beside what came; one for each episode.

    Features of a vision tower become pictures by their principal components (:class:`FeatureColours`).
    """

    def __init__(self) -> None:
        self._waiting: dict[int, Pictures] = {}
        self._colours: dict[str, FeatureColours] = {}

    def pop(self, step: Step) -> Pictures:
        """Camera → (h, w, 3) uint8 as it was foreseen for this very moment; empty if it was not."""
        due = self._waiting.pop(step.step, {})
        requested = step.step if step.requested_at is None else step.requested_at
        for forecast in step.prediction.forecasts if step.prediction is not None else ():
            if (when := requested + forecast.horizon) > step.step:
                self._waiting[when] = self._pictures(forecast)
        return due

    def _pictures(self, forecast: Forecast) -> Pictures:
        """Images by camera; features of a tower stand in for those of their camera where there are none."""
        pictures = dict(forecast.images)
        for name, features in forecast.features.items():
            colours = self._colours.setdefault(name, FeatureColours(features))
            pictures.setdefault(name.partition(".")[2], colours(features))
        return pictures
