"""What a policy had foreseen for now."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from forehand.rollout import Moment

Pictures = Mapping[str, NDArray[np.uint8]]


class Foreseen:
    """Keeps forecasts until their time has come, so that they can stand beside what came; one for each episode."""

    def __init__(self) -> None:
        self._waiting: deque[tuple[int, Pictures]] = deque()

    def due(self, moment: Moment) -> Pictures:
        """Camera → (h, w, 3) uint8 as it was foreseen for this very moment; empty if it was not."""
        while self._waiting and self._waiting[0][0] < moment.step:
            self._waiting.popleft()
        due = self._waiting[0][1] if self._waiting and self._waiting[0][0] == moment.step else {}
        answer = moment.prediction
        if answer is not None and answer.forecast is not None:
            asked = moment.step if moment.asked_at is None else moment.asked_at
            self._waiting.append((asked + answer.forecast_horizon, answer.forecast))
        return due
