"""Control step: one observation in, one action or a hold out; the same code in real and in simulated time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from forehand.contracts.contract import Contract
from forehand.control.chunking import Action, ActionChunker
from forehand.control.finite import require_finite_time
from forehand.control.limits import Clipping
from forehand.errors import TransientError
from forehand.policy import Prediction, require_actions
from forehand.robot import Observation
from forehand.running.inference import InferenceResult


@dataclass(frozen=True)
class Step:
    """One control step as it happened, for observers.

    prediction: the policy's answer, None where none came in this step; requested_at: the step of the request, where that
    is another; action: the command, None where the robot held and at the end of the episode; clippings: where limits
    changed it; seconds: duration of each stage (``observe``, ``policy``, ``act``); ended: whether the episode ended
    before this step.
    """

    step: int
    observation: Observation
    prediction: Prediction | None
    action: Action | None
    requested_at: int | None = None
    clippings: tuple[Clipping, ...] = ()
    seconds: Mapping[str, float] = field(default_factory=dict)
    ended: bool = False


class PolicyInference(Protocol):
    """Inference of one policy for one robot, one request at a time; it gets every observation, with a request or not."""

    @property
    def idle(self) -> bool:
        """Whether no answer is awaited."""

    def begin(self, instruction: str, seed: int) -> None:
        """Start an episode; ``seed`` is of what the policy draws at random."""

    def observe(self, observation: Observation) -> None:
        """Pass an observation without a request."""

    def ask(self, step: int, observation: Observation) -> None:
        """Request actions for the observation of ``step``."""

    def answer(self, step: int, timeout: float) -> InferenceResult | None:
        """The answer if it has come by ``step``, or comes within ``timeout`` seconds; raises what the policy raised."""


@dataclass(frozen=True)
class Decision:
    """What a control step does: ``action`` (A,), or a hold where it is None.

    answer: the policy's answer that came in this step, if any; expired: whether all of its actions lay in the past.
    """

    action: Action | None
    answer: InferenceResult | None = None
    expired: bool = False

    def as_step(self, step: int, observation: Observation, **facts: Any) -> Step:
        """The record of this step, with more ``facts`` about it."""
        prediction, requested_at = (self.answer.prediction, self.answer.step) if self.answer else (None, None)
        return Step(step, observation, prediction, **{"action": self.action, "requested_at": requested_at, **facts})


class ControlStep:
    """From an observation to an action: policy inference and action chunking, for a robot of ``contract``.

    ``watchdog``: seconds of real time that a synchronous chunker waits for an answer; then, as an asynchronous one at any
    time, it continues with the actions it has. The age of a chunk is read from the robot's clock. None: simulated time,
    which is the number of the step over the contract's rate: a synchronous chunker holds until the answer is due.
    """

    def __init__(
        self, inference: PolicyInference, chunker: ActionChunker, contract: Contract, watchdog: float | None = None
    ) -> None:
        self.last_error: Exception | None = None
        """Why the policy gave no answer, until it gives one."""
        self._inference, self._chunker, self._contract, self._watchdog = inference, chunker, contract, watchdog
        self._acted = self._acted_when_asked = 0

    def begin(self, instruction: str, seed: int = 0) -> None:
        """Start an episode; ``seed`` is of what the policy draws at random."""
        self._inference.begin(instruction, seed)
        self._chunker.reset()
        self._acted = self._acted_when_asked = 0
        self.last_error = None

    def decide(self, step: int, observation: Observation) -> Decision:
        """The action upon the ``observation`` of ``step``, which are counted from 0.

        Raises :class:`~forehand.errors.ContractMismatch` for an answer that holds no actions of the contract,
        :class:`~forehand.errors.NotFinite` for a time from which the age of an answer cannot be computed, and what
        the policy raises but for a :class:`~forehand.errors.TransientError`, which is kept as :attr:`last_error`.
        """
        inference, chunker = self._inference, self._chunker
        received = self._receive(step, observation, 0.0) if chunker.asynchronous else None
        if inference.idle and chunker.needs_prediction:
            inference.ask(step, observation)
            self._acted_when_asked = self._acted
        else:
            inference.observe(observation)
        if received is None:
            received = self._receive(step, observation, 0.0 if chunker.asynchronous else self._watchdog or 0.0)
        waits = self._watchdog is None and not chunker.asynchronous and not inference.idle
        action = None if waits else chunker.next_action()
        self._acted += action is not None
        return Decision(action, *(received or ()))

    def _receive(self, step: int, observation: Observation, timeout: float) -> tuple[InferenceResult, bool] | None:
        """The answer, once its chunk is added, and whether that has expired."""
        try:
            answer = self._inference.answer(step, timeout)
        except TransientError as error:
            self.last_error = error
            return None
        if answer is None:
            return None
        self.last_error = None
        chunk, age = require_actions(answer.prediction, self._contract), self._age(answer, step, observation)
        self._chunker.add(chunk, age)
        return answer, age >= len(chunk)

    def _age(self, answer: InferenceResult, step: int, observation: Observation) -> int:
        """How many actions of a chunk lie in the past. Time passes for it only if the robot did not wait for it."""
        if not self._chunker.asynchronous:
            return self._acted - self._acted_when_asked
        if self._watchdog is None:
            return step - answer.step
        require_finite_time(observation)
        require_finite_time(answer.observation)
        return max(0, round((observation.time - answer.observation.time) * self._contract.rate))
