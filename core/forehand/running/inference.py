"""A policy that thinks in a thread of its own, so that no thought of its can keep a robot waiting."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from forehand.policy import Policy, Prediction, Session
from forehand.robot import Observation

log = logging.getLogger(__name__)

GRACE = 2.0
"""Seconds a policy may take to finish its thought when it is no longer needed."""


@dataclass(frozen=True)
class Answer:
    """What the policy made of ``observation``, which was the one of step ``step``; it took ``seconds``."""

    step: int
    observation: Observation
    prediction: Prediction
    seconds: float


@dataclass(frozen=True)
class _Question:
    episode: int
    instruction: str
    step: int
    observation: Observation
    between: Sequence[Observation]


class Inference:
    """Asks ``policy`` about one robot, one question at a time.

    Every observation goes to either :meth:`ask` or :meth:`see`, so that the policy's history has no gaps however seldom
    it is asked. Where the policy fails, :meth:`answer` raises its error, and the next question is asked in a new session
    that is shown the last frames first: a policy server that was restarted goes on where it was.
    """

    def __init__(self, policy: Policy, *, forecast: bool = False) -> None:
        self._policy, self._forecast = policy, forecast
        self._questions: queue.SimpleQueue[_Question | None] = queue.SimpleQueue()
        self._answers: queue.SimpleQueue[tuple[int, Answer | Exception]] = queue.SimpleQueue()
        self._episode, self._instruction = 0, ""
        self._between: deque[Observation] = deque(maxlen=policy.history - 1)
        self.idle = True
        self._thread = threading.Thread(target=self._work, name="policy", daemon=True)
        self._thread.start()

    def begin(self, instruction: str) -> None:
        """A new episode: nothing of the last one is remembered, and an answer that is still to come is dropped."""
        self._episode, self._instruction = self._episode + 1, instruction
        self._between.clear()

    def see(self, observation: Observation) -> None:
        """Let the policy see, without a question."""
        self._between.append(observation)

    def ask(self, step: int, observation: Observation) -> None:
        """Ask what to do; only while :attr:`idle`."""
        assert self.idle, "one question at a time"
        self.idle = False
        self._questions.put(_Question(self._episode, self._instruction, step, observation, tuple(self._between)))
        self._between.clear()

    def answer(self, timeout: float) -> Answer | None:
        """The answer, or None if it does not come within ``timeout`` seconds. Raises what the policy raised."""
        until = time.monotonic() + timeout
        while not self.idle:
            try:
                episode, answer = self._answers.get(timeout=max(0.0, until - time.monotonic()))
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
        self._questions.put(None)
        self._thread.join(GRACE)
        if self._thread.is_alive():
            log.warning("the policy did not return within %g s and is left alone", GRACE)

    def _work(self) -> None:
        session: Session | None = None
        episode = 0
        frames: deque[Observation] = deque(maxlen=self._policy.history - 1)  # what a new session would have to be shown
        while (question := self._questions.get()) is not None:
            started = time.monotonic()
            try:
                if question.episode != episode:
                    _end(session)
                    session, episode = None, question.episode
                    frames.clear()
                missed = [*question.between] if session else [*frames, *question.between]
                frames.extend([*question.between, question.observation])
                session = session or self._policy.open(question.instruction)
                if missed and frames.maxlen:
                    self._policy.remember(session, missed[-frames.maxlen :])
                (prediction,) = self._policy.step([session], [question.observation], forecast=self._forecast)
            except Exception as error:  # told by answer(), in the thread of the robot
                _end(session)
                session = None
                self._answers.put((question.episode, error))
            else:
                seconds = time.monotonic() - started
                self._answers.put((episode, Answer(question.step, question.observation, prediction, seconds)))
        _end(session)


def _end(session: Session | None) -> None:
    if session is not None:
        with suppress(Exception):  # it ends in any case; a server forgets what is unused
            session.close()
