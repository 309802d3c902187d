"""``forehand run``: a policy drives a robot in real time, under one instruction."""

from __future__ import annotations

import contextlib
import logging
import time
from dataclasses import dataclass, field

import numpy as np
from omegaconf import DictConfig

from forehand import Policy, Robot
from forehand.contract import require_fit
from forehand.execution import Execution
from forehand_apps.assembly import execution_factory, make, open_policies

log = logging.getLogger(__name__)


@dataclass
class Pace:
    """Keeps a loop at ``rate`` Hz and remembers how well that went. Times in seconds."""

    rate: float
    steps: int = 0
    late: int = 0
    latencies: list[float] = field(default_factory=list)
    started: float = field(default_factory=time.monotonic)
    due: float = field(default_factory=time.monotonic)

    def wait(self) -> None:
        """Sleep until the next step is due. A step that missed its time is late, and the next is counted from now."""
        self.steps += 1
        self.due += 1 / self.rate
        spare = self.due - time.monotonic()
        if spare >= 0:
            time.sleep(spare)
        else:
            self.late += 1
            self.due -= spare

    def __str__(self) -> str:
        elapsed = max(time.monotonic() - self.started, 1e-9)
        latency = "no answer yet"
        if self.latencies:
            median, slow = np.percentile(self.latencies, [50, 95]) * 1000
            latency = f"policy {median:.0f} ms, 95 % within {slow:.0f} ms"
        return f"{self.steps} steps, {self.steps / elapsed:.1f} of {self.rate:g} Hz, {latency}, {self.late} late"


def run(config: DictConfig) -> None:
    """Drive until Ctrl-C, the step limit, or the task is accomplished."""
    instruction: str = config.instruction
    body: Robot = make("robot", config.robot)
    try:
        body.connect()
        (policy,) = open_policies(config.policy, [body])
        require_fit(policy.contract, body.contract, "the policy", "the robot")
        execution = execution_factory(config, policy.contract)()
        print(f"driving: {instruction}   (Ctrl-C stops)", flush=True)
        drive(body, policy, execution, instruction, config.max_steps, config.report_every)
    finally:
        body.close()


def drive(
    body: Robot, policy: Policy, execution: Execution, instruction: str, max_steps: int | None, report_every: float
) -> Pace:
    """The control loop; whatever ends it, the robot holds. Returns how well the pace was kept."""
    pace = Pace(body.contract.rate)
    session = policy.open(instruction)
    execution.reset()
    ending = "the step limit is reached"
    reported = time.monotonic()
    try:
        observation = body.reset()
        pace.started = pace.due = time.monotonic()
        while max_steps is None or pace.steps < max_steps:
            if execution.needs_prediction:
                asked = time.monotonic()
                (prediction,) = policy.step([session], [observation])
                pace.latencies.append(time.monotonic() - asked)
                execution.add(prediction.actions)
            observation = body.step(execution.next_action())
            pace.wait()
            if observation.success:
                ending = "the task is accomplished"
                break
            if time.monotonic() - reported >= report_every:
                reported = time.monotonic()
                log.info("%s", pace)
    except KeyboardInterrupt:
        ending = "stopped by hand"
    finally:
        try:
            body.hold()
        except Exception as error:  # what ended the loop is the error to tell; this one is only logged
            log.warning("the robot could not be told to hold: %s", error)
        with contextlib.suppress(Exception):
            session.close()
    print(f"{ending}; the robot holds. {pace}", flush=True)
    return pace
