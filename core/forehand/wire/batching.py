"""One thread that asks a policy, for as many sessions at once as are waiting."""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from forehand.errors import ForehandError
from forehand.policy import Policy, Prediction, Session
from forehand.robot import Observation
from forehand.wire.convert import Payload, prediction_to_payload
from forehand.wire.errors import InternalError
from forehand.wire.jobs import Job, JobQueue, Outcome
from forehand.wire.meter import Meter

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Step(Job):
    """One observation of one session; steps of several sessions are computed together."""

    client: bytes
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

    Jobs of one session keep their order. Steps that are waiting together, one for each session, become one call. A step
    may wait up to ``latency_budget`` seconds for the others that asked within the last second; never longer
    than half the time that it, or another, has. Clients take turns: who has many sessions is computed after who has one.
    """

    def __init__(self, policy: Policy, max_batch: int, latency_budget: float = 0.0, meter: Meter | None = None) -> None:
        self._policy = policy
        self._max_batch = max_batch
        self._latency_budget = latency_budget
        self._meter = meter or Meter()
        self._queue: JobQueue[Job] = JobQueue()
        self._asked: dict[str, float] = {}  # when each session's last step was computed
        self._computing = 0.0  # seconds that the last batch took
        self._thread = threading.Thread(target=self._work, name="inference", daemon=True)
        self.submit = self._queue.put
        self.expire = self._queue.expire
        self.drain = self._queue.drain

    def __len__(self) -> int:
        return len(self._queue)

    def start(self, warm_up: bool = False) -> None:
        """Begin to work; return once the policy is warm, if it is to be."""
        self._thread.start()
        if warm_up:
            warm = threading.Event()
            now = time.monotonic()
            self.submit(Call("warm-up", "", now, now + 3600.0, lambda _: warm.set(), self._warm))
            warm.wait()

    def is_working(self) -> bool:
        """Whether the thread, asked to drain, is not done yet."""
        return self._thread.is_alive()

    def stop(self) -> None:
        """Refuse what waits; a policy that does not return is abandoned."""
        self._queue.close()
        self._thread.join(0.1)
        if self._thread.is_alive():
            log.warning("the policy did not return in time; its last batch is abandoned")

    def _warm(self) -> Payload:
        """One answer to blank pictures, since the first one takes longest; a policy that refuses them starts cold."""
        contract = self._policy.contract
        images = {c.name: np.zeros((c.height, c.width, 3), np.uint8) for c in contract.cameras}
        blank = Observation(images, np.zeros(contract.state_size, np.float32), 0.0)
        started = time.monotonic()
        try:
            session = self._policy.open("")
            self._policy.step([session], [blank])
            session.close()
        except Exception as error:
            log.warning("no warm-up (%s: %s): the first answer will be slow", type(error).__name__, error)
        else:
            log.info("the policy is warm after %.2f s", time.monotonic() - started)
        return {}

    def _patience(self, waiting: list[Job]) -> float:
        """Seconds for which the first job had better wait for company."""
        first = waiting[0]
        if self._latency_budget <= 0 or not isinstance(first, Step):
            return 0.0
        now = time.monotonic()
        self._asked = {session: asked for session, asked in self._asked.items() if now - asked < 1.0}
        here = {job.session for job in waiting}
        if len(here) >= self._max_batch or here >= self._asked.keys():
            return 0.0
        latest = min((job.received + job.deadline) / 2 for job in waiting) - self._computing
        return min(first.received + self._latency_budget, latest) - now

    def _choose(self, waiting: list[Job]) -> list[Job]:
        """The first job, and if it is a step, the steps that can join it without overtaking a job of their session."""
        first = waiting[0]
        if not isinstance(first, Step):
            return [first]
        turns: Counter[bytes] = Counter()
        ranked: list[tuple[int, Job]] = []
        seen: set[str] = set()
        for job in waiting:
            if isinstance(job, Step) and job.forecast == first.forecast and job.session not in seen:
                ranked.append((turns[job.client], job))
                turns[job.client] += 1
            seen.add(job.session)
        ranked.sort(key=lambda turn: turn[0])  # stable: among equals, who came first
        return [job for _, job in ranked[: self._max_batch]]

    def _work(self) -> None:
        while (jobs := self._queue.take(self._choose, patience=self._patience)) is not None:
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
        computed = self._computing = time.monotonic() - started
        if self._latency_budget > 0:
            self._asked |= {step.session: started for step in steps}
        self._meter.computed([started - step.received for step in steps], computed)
        for step, prediction in zip(steps, predictions, strict=True):
            queued = started - step.received
            timing = {"observed": step.observation.time, "queued": queued, "computed": computed, "batch": len(steps)}
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
