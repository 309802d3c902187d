"""Dynamic batching: one thread that runs a policy for all waiting sessions at once."""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from forehand.control.job_queue import Job, JobQueue, Outcome
from forehand.errors import ForehandError, InternalError, NotFinite
from forehand.policy import Policy, Prediction, Session
from forehand.robot import Observation
from forehand.wire.metrics import Metrics
from forehand.wire.serialize import Payload, prediction_to_payload

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Step(Job):
    """One observation of one session; steps of several sessions of one policy are computed together."""

    client: bytes
    policy: Policy
    policy_session: Session
    observation: Observation
    forecast: bool
    earlier: Sequence[Observation] = ()
    """Frames since the last step, which the policy is to see first."""

    def shares_batch(self, other: Step) -> bool:
        """Whether both can be computed in one call."""
        return self.policy is other.policy and self.forecast == other.forecast


@dataclass(frozen=True, eq=False)
class Call(Job):
    """Anything else that concerns the policy, done alone and in its turn."""

    call: Callable[[], Payload]


class Batcher:
    """Inference thread: the only thread that calls the policy.

    Jobs of one session keep their order. Steps that are waiting together, one for each session, become one call. A step
    may wait up to ``latency_budget`` seconds for the sessions that sent one within the last second; never longer
    than half the time that any waiting step has. Clients take turns: the first step of each comes before
    the second of any.
    """

    def __init__(
        self,
        policy: Policy,
        max_batch: int,
        latency_budget: float = 0.0,
        metrics: Metrics | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._policy = policy
        self._max_batch = max_batch
        self._latency_budget = latency_budget
        self._metrics = metrics or Metrics()
        self._clock = clock
        self._queue: JobQueue[Job] = JobQueue(clock)
        self._asked: dict[str, float] = {}  # when each session's last step was computed
        self._computing = 0.0  # seconds that the last batch took
        self._thread = threading.Thread(target=self._work, name="inference", daemon=True)
        self.submit = self._queue.submit
        self.expire = self._queue.expire
        self.drain = self._queue.drain

    def __len__(self) -> int:
        return len(self._queue)

    def start(self, warm_up: bool = False) -> None:
        """Start the thread; return once the policy is warm, if it is to be."""
        self._thread.start()
        if warm_up:
            warm = threading.Event()
            now = self._clock()
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
        sensors = {sensor.name: sensor.blank() for sensor in contract.sensors}
        blank = Observation(images, np.zeros(contract.state_size, np.float32), 0.0, sensors=sensors)
        started = self._clock()
        try:
            session = self._policy.open("")
            self._policy.step([session], [blank])
            session.close()
        except BaseException as error:
            log.warning("no warm-up (%s: %s): the first answer will be slow", type(error).__name__, error)
        else:
            log.info("the policy is warm after %.2f s", self._clock() - started)
        return {}

    def _batching_delay(self, waiting: list[Job]) -> float:
        """Seconds for which the first job should wait for others to share its batch."""
        first = waiting[0]
        if self._latency_budget <= 0 or not isinstance(first, Step):
            return 0.0
        now = self._clock()
        self._asked = {session: asked for session, asked in self._asked.items() if now - asked < 1.0}
        here = {job.session for job in waiting}
        if len(here) >= self._max_batch or here >= self._asked.keys():
            return 0.0
        latest = min((job.received + job.deadline) / 2 for job in waiting) - self._computing
        return min(first.received + self._latency_budget, latest) - now

    def _choose(self, waiting: list[Job]) -> list[Job]:
        """The first job, and if it is a step, the steps that can join it without overtaking a job of their session."""
        first = waiting[0]
        if not isinstance(first, Step) or len(waiting) == 1:
            return [first]
        turns: Counter[bytes] = Counter()
        ranked: list[tuple[int, Job]] = []
        seen: set[str] = set()
        for job in waiting:
            if isinstance(job, Step) and job.session not in seen and job.shares_batch(first):
                ranked.append((turns[job.client], job))
                turns[job.client] += 1
            seen.add(job.session)
        ranked.sort(key=lambda turn: turn[0])  # stable: among equals, in order of arrival
        return [job for _, job in ranked[: self._max_batch]]

    def _work(self) -> None:
        while (jobs := self._queue.take(self._choose, delay=self._batching_delay)) is not None:
            steps = [job for job in jobs if isinstance(job, Step)]
            if steps:
                self._step(steps)
            for job in jobs:
                if isinstance(job, Call):
                    job.done(_attempt(job.call))

    def _step(self, steps: list[Step]) -> None:
        started = self._clock()
        try:
            for step in steps:
                if step.earlier:
                    step.policy.remember(step.policy_session, step.earlier)
            predictions = steps[0].policy.step(
                [s.policy_session for s in steps], [s.observation for s in steps], forecast=steps[0].forecast
            )
            if len(predictions) != len(steps):
                raise ValueError(f"it gave {len(predictions)} predictions for {len(steps)} sessions")
        except BaseException as error:  # one robot's failed batch, SystemExit too, must not end the others' server
            failure = _failure(error)
            for step in steps:
                step.done(failure)
            return
        computed = self._computing = self._clock() - started
        if self._latency_budget > 0:
            self._asked |= {step.session: started for step in steps}
        self._metrics.batch([started - step.received for step in steps], computed)
        for step, prediction in zip(steps, predictions, strict=True):
            queued = started - step.received
            timing = {"observed": step.observation.time, "queued": queued, "computed": computed, "batch": len(steps)}
            step.done(self._answer(step, prediction, timing))

    def _answer(self, step: Step, prediction: Prediction, timing: Payload) -> Outcome:
        """What ``step`` is answered; a session whose answer is not finite begins anew, rid of what led to it."""
        outcome = _attempt(lambda: {**prediction_to_payload(prediction, step.policy.contract), "timing": timing})
        if not isinstance(outcome, NotFinite):
            return outcome
        try:
            step.policy_session.reset()
        except BaseException as error:
            return _failure(error)
        return NotFinite(f"{outcome} The session's history was forgotten.")


def _attempt(call: Callable[[], Payload]) -> Outcome:
    try:
        return call()
    except BaseException as error:
        return _failure(error)


def _failure(error: BaseException) -> ForehandError:
    """The error to send: a ForehandError as it is, any other with a pointer to the traceback in the log."""
    if isinstance(error, ForehandError):
        return error
    log.error("the policy failed", exc_info=error)
    return InternalError(f"The policy failed with {type(error).__name__}: {error}. The server's log has the traceback.")
