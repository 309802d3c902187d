"""One thread that asks a policy, for as many sessions at once as are waiting."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from forehand.errors import ForehandError
from forehand.policy import Policy, Prediction, Session
from forehand.robot import Observation
from forehand.wire.convert import Payload, prediction_to_payload
from forehand.wire.errors import InternalError
from forehand.wire.jobs import Job, JobQueue, Outcome

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Step(Job):
    """One observation of one session; steps of several sessions are computed together."""

    policy_session: Session
    observation: Observation
    forecast: bool
    earlier: Sequence[Observation] = ()
    """Frames since the last step, which the policy is to see first."""


@dataclass(frozen=True, eq=False)
class Call(Job):
    """Anything else that concerns the policy, done alone and in its turn."""

    call: Callable[[], Payload]


class Batcher:
    """The only one who calls the policy, in a thread of its own.

    Jobs of one session keep their order. Steps that are waiting together, one for each session, become one call.
    """

    def __init__(self, policy: Policy, max_batch: int) -> None:
        self._policy = policy
        self._max_batch = max_batch
        self._queue: JobQueue[Job] = JobQueue()
        self._thread = threading.Thread(target=self._work, name="inference", daemon=True)
        self.submit = self._queue.put
        self.expire = self._queue.expire

    def start(self) -> None:
        """Begin to work."""
        self._thread.start()

    def stop(self, grace: float) -> None:
        """Refuse what waits, and give what is being computed ``grace`` seconds to finish."""
        self._queue.close()
        self._thread.join(grace)
        if self._thread.is_alive():
            log.warning("the policy did not return within %.0f s; its last batch is abandoned", grace)

    def _choose(self, waiting: list[Job]) -> list[Job]:
        """The first job, and if it is a step, the steps that can join it without overtaking a job of their session."""
        first = waiting[0]
        if not isinstance(first, Step):
            return [first]
        chosen: list[Job] = []
        seen: set[str] = set()
        for job in waiting:
            joins = isinstance(job, Step) and job.forecast == first.forecast and job.session not in seen
            seen.add(job.session)
            if joins and len(chosen) < self._max_batch:
                chosen.append(job)
        return chosen

    def _work(self) -> None:
        while (jobs := self._queue.take(self._choose)) is not None:
            steps = [job for job in jobs if isinstance(job, Step)]
            if steps:
                self._step(steps)
            for job in jobs:
                if isinstance(job, Call):
                    job.done(_attempt(job.call))

    def _step(self, steps: list[Step]) -> None:
        started = time.monotonic()
        try:
            for step in steps:
                if step.earlier:
                    self._policy.remember(step.policy_session, step.earlier)
            predictions = self._policy.step(
                [s.policy_session for s in steps], [s.observation for s in steps], forecast=steps[0].forecast
            )
            if len(predictions) != len(steps):
                raise ValueError(f"it gave {len(predictions)} predictions for {len(steps)} sessions")
        except Exception as error:  # one robot's failed batch must not end the others' server
            failure = _failure(error)
            for step in steps:
                step.done(failure)
            return
        computed = time.monotonic() - started
        for step, prediction in zip(steps, predictions, strict=True):
            timing = {"queued": started - step.received, "computed": computed, "batch": len(steps)}
            step.done(self._answer(prediction, timing))

    def _answer(self, prediction: Prediction, timing: Payload) -> Outcome:
        return _attempt(lambda: {**prediction_to_payload(prediction, self._policy.contract), "timing": timing})


def _attempt(call: Callable[[], Payload]) -> Outcome:
    try:
        return call()
    except Exception as error:
        return _failure(error)


def _failure(error: Exception) -> ForehandError:
    """What is told: errors that were raised on purpose as they are, accidents with a pointer to the traceback."""
    if isinstance(error, ForehandError):
        return error
    log.error("the policy failed", exc_info=error)
    return InternalError(f"The policy failed with {type(error).__name__}: {error}. The server's log has the traceback.")
