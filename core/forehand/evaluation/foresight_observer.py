"""Foresight observer: forecasts at every step of an episode, beside what came, and under another instruction."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from forehand.policy import Forecast, Policy, Session
from forehand.running.control_step import Step
from forehand.running.forecast_errors import FeaturesOf, ForecastError, ForecastErrors, difference

Pictures = Mapping[str, NDArray[np.uint8]]
Attention = Callable[[Session], Mapping[str, float]]


@dataclass
class ForeseenStep:
    """One step: pictures by camera.

    now: as the cameras see it. came: the errors of what had been foreseen for it. expected, otherwise: the forecasts made
    here, under the policy's instruction and under another one; apart: how far these two are from each other, (h, w).
    attention: shares of the action queries' attention by group of tokens.
    """

    now: Pictures
    came: Mapping[str, ForecastError]
    expected: Pictures = field(default_factory=dict)
    otherwise: Pictures = field(default_factory=dict)
    apart: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)
    attention: Mapping[str, float] = field(default_factory=dict)


class ForesightObserver:
    """An observer of one episode (:func:`~forehand.running.rollout.rollout`'s ``on_step``), in a ``with`` statement.

    It asks ``policy`` at every step, in sessions of its own, so that the episode goes as it would without. ``otherwise``:
    another instruction that the policy might have been given, or None. ``attention``, ``features``: of a policy that is
    computed here (:func:`~forehand.compose.attention.action_attention`,
    :func:`~forehand.compose.forecasts.patch_features`). ``method``: how it resizes images. ``steps``: what was found, the
    moment after the last action included.
    """

    def __init__(
        self,
        policy: Policy,
        instruction: str,
        seed: int,
        otherwise: str | None = None,
        *,
        attention: Attention | None = None,
        features: FeaturesOf | None = None,
        method: str = "area",
    ) -> None:
        self._policy, self._attention = policy, attention
        self._errors = ForecastErrors(features, method)
        instructions = [instruction] if otherwise is None else [instruction, otherwise]
        self._sessions = [policy.open(one, seed) for one in instructions]
        self.steps: list[ForeseenStep] = []
        self.horizon = 0
        """Control steps from a forecast to the moment that it is of; 0 while there was none."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with ExitStack() as stack:
            for session in self._sessions:
                stack.enter_context(closing(session))

    def on_step(self, step: Step) -> None:
        """Request a forecast for the step's observation, and compare what came with what was foreseen for it."""
        seen = step.observation
        found = ForeseenStep(dict(seen.images), self._errors.pop(step.step, seen))
        self.steps.append(found)
        if step.ended:
            return
        observations = [seen] * len(self._sessions)
        answers = self._policy.step(self._sessions, observations, forecast=True)
        self._errors.add(step.step, seen, answers[0].forecasts)
        if answers[0].forecasts:
            self.horizon = answers[0].forecasts[-1].horizon
        found.expected = self._errors.pictures(answers[0].forecasts)
        if len(answers) > 1 and answers[1].forecasts:
            found.otherwise = self._errors.pictures(answers[1].forecasts)
            found.apart = _apart(answers[0].forecasts[-1], answers[1].forecasts[-1])
        if self._attention is not None:
            found.attention = self._attention(self._sessions[0])


def _apart(one: Forecast, other: Forecast) -> dict[str, NDArray[np.float32]]:
    """How far two forecasts are from each other, by camera."""
    features = {n.partition(".")[2]: difference(v, other.features[n]) for n, v in one.features.items()}
    return features | {camera: difference(picture, other.images[camera]) for camera, picture in one.images.items()}
