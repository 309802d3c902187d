"""Policy inference in simulated time, with a stated latency."""

from __future__ import annotations

import math
from collections import deque
from contextlib import suppress

from forehand.policy import Policy, Session
from forehand.robot import Observation
from forehand.running.inference import InferenceResult
from forehand.utils.numbers import not_negative


class SimulatedInference:
    """Requests predictions while the world waits, and holds each answer back until its latency has passed.

    ``latency``: seconds from an observation to the answer, on a clock that moves on by 1 / ``rate`` (Hz) with every
    control step, so an answer comes after ⌈latency · rate⌉ steps however long it took to compute. Observations between
    two requests are shown to the policy with the second one, as many as its history holds, in a session that
    :meth:`begin` opens and :meth:`close` closes.
    """

    def __init__(self, policy: Policy, rate: float, *, latency: float = 0.0, forecast: bool = False) -> None:
        not_negative(**{"policy.latency": latency})
        self._policy, self._latency, self._forecast = policy, latency, forecast
        self._delay = math.ceil(latency * rate - 1e-6)  # the product of 0.7 s and 10 Hz exceeds 7 by rounding
        self._between: deque[Observation] = deque(maxlen=policy.history - 1)
        self._session: Session | None = None
        self._pending: InferenceResult | None = None

    @property
    def idle(self) -> bool:
        """Whether no answer is held back."""
        return self._pending is None

    def begin(self, instruction: str, seed: int = 0) -> None:
        """Open a session for an episode."""
        self._session, self._pending = self._policy.open(instruction, seed), None
        self._between.clear()

    def observe(self, observation: Observation) -> None:
        """Let the policy see an observation, without a request."""
        self._between.append(observation)

    def ask(self, step: int, observation: Observation) -> None:
        """Compute the answer to the observation of ``step``; only while :attr:`idle`."""
        assert self._session is not None
        assert self.idle, "one request at a time"
        if self._between:
            self._policy.remember(self._session, tuple(self._between))
            self._between.clear()
        (prediction,) = self._policy.step([self._session], [observation], forecast=self._forecast)
        self._pending = InferenceResult(step, observation, prediction, self._latency)

    def answer(self, step: int, timeout: float = 0.0) -> InferenceResult | None:
        """The answer, if it is due by ``step``."""
        answer = self._pending
        if answer is None or step < answer.step + self._delay:
            return None
        self._pending = None
        return answer

    def close(self) -> None:
        """Close the session."""
        if self._session is not None:
            with suppress(Exception):  # it ends in any case; a server closes unused sessions
                self._session.close()
