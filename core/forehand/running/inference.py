"""Inference thread: a slow policy does not block the control loop."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from forehand.errors import contained
from forehand.policy import Policy, Prediction, Session
from forehand.robot import Observation

log = logging.getLogger(__name__)

CLOSE_TIMEOUT = 2.0
"""Seconds a policy may take to finish its thought when it is no longer needed."""


@dataclass(frozen=True)
class InferenceResult:
    """What the policy made of ``observation``, which was the one of step ``step``; it took ``seconds``."""

    step: int
    observation: Observation
    prediction: Prediction
    seconds: float


@dataclass(frozen=True)
class InferenceRequest:
    """Observation to infer actions from, with those since the last request."""

    episode: int
    instruction: str
    seed: int
    step: int
    observation: Observation
    between: Sequence[Observation]


class Inference:
    """Requests predictions of ``policy`` for one robot, one at a time.

    Every observation goes to either :meth:`ask` or :meth:`observe`, so that the policy's history has no gaps whatever the
    rate of requests. Where the policy fails, :meth:`answer` raises its error, and the next request opens a new session
    with the last frames as its history, so that a restarted policy server continues where it was.
    """

    def __init__(self, policy: Policy, *, forecast: bool = False) -> None:
        self._policy, self._forecast = policy, forecast
        self._requests: queue.SimpleQueue[InferenceRequest | None] = queue.SimpleQueue()
        self._results: queue.SimpleQueue[tuple[int, InferenceResult | Exception]] = queue.SimpleQueue()
        self._episode, self._instruction, self._seed = 0, "", 0
        self._between: deque[Observation] = deque(maxlen=policy.history - 1)
        self.idle = True
        self._thread = threading.Thread(target=self._work, name="policy", daemon=True)
        self._thread.start()

    def begin(self, instruction: str, seed: int = 0) -> None:
        """A new episode: nothing of the last one is remembered, and an answer that is still to come is dropped."""
        self._episode, self._instruction, self._seed = self._episode + 1, instruction, seed
        self._between.clear()

    def observe(self, observation: Observation) -> None:
        """Let the policy see, without a request."""
        self._between.append(observation)

    def ask(self, step: int, observation: Observation) -> None:
        """Request a prediction; only while :attr:`idle`."""
        assert self.idle, "one question at a time"
        self.idle = False
        self._requests.put(
            InferenceRequest(self._episode, self._instruction, self._seed, step, observation, tuple(self._between))
        )
        self._between.clear()

    def answer(self, step: int, timeout: float) -> InferenceResult | None:
        """The answer, or None if it does not come within ``timeout`` seconds of real time. Raises the policy's error."""
        until = time.monotonic() + timeout
        while not self.idle:
            try:
                episode, answer = self._results.get(timeout=max(0.0, until - time.monotonic()))
            except queue.Empty:
                return None
            self.idle = True
            if episode != self._episode:
                continue
            if isinstance(answer, Exception):
                raise answer
            return answer
        return None

    def close(self) -> None:
        """End the session; a policy that is stuck is left behind."""
        self._requests.put(None)
        self._thread.join(CLOSE_TIMEOUT)
        if self._thread.is_alive():
            log.warning("the policy did not return within %g s and is left alone", CLOSE_TIMEOUT)

    def _work(self) -> None:
        session: Session | None = None
        episode = 0
        frames: deque[Observation] = deque(maxlen=self._policy.history - 1)  # what a new session would have to be shown
        while (request := self._requests.get()) is not None:
            started = time.monotonic()
            try:
                if request.episode != episode:
                    _end(session)
                    session, episode = None, request.episode
                    frames.clear()
                missed = [*request.between] if session else [*frames, *request.between]
                frames.extend([*request.between, request.observation])
                session = session or self._policy.open(request.instruction, request.seed)
                if missed and frames.maxlen:
                    self._policy.remember(session, missed[-frames.maxlen :])
                (prediction,) = self._policy.step([session], [request.observation], forecast=self._forecast)
            except BaseException as error:  # SystemExit too; raised by answer(), in the robot's thread
                _end(session)
                session = None
                self._results.put((request.episode, contained(error, "The policy")))
            else:
                seconds = time.monotonic() - started
                self._results.put((episode, InferenceResult(request.step, request.observation, prediction, seconds)))
        _end(session)


def _end(session: Session | None) -> None:
    if session is not None:
        with suppress(BaseException):  # it ends in any case; a server closes unused sessions
            session.close()
