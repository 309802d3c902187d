"""The control loop in real time: look, ask, limit, act, at the contract's rate."""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import count

from forehand.errors import ForehandError
from forehand.execution import Action, Execution
from forehand.familiarity import out_of_range, unfamiliar
from forehand.limited_robot import LimitedRobot
from forehand.policy import Policy
from forehand.robot import Episode, Observation, Robot
from forehand.rollout import Moment
from forehand.running.inference import Answer, Inference
from forehand.running.pace import Pace
from forehand.running.report import Report
from forehand.running.watched_robot import WatchedRobot
from forehand.running.watching import Watcher
from forehand.wire.errors import Busy, ConnectionLost, DeadlineExceeded, ServerStopping, UnknownSession

log = logging.getLogger(__name__)

PASSING = (Busy, ConnectionLost, DeadlineExceeded, ServerStopping, UnknownSession)
"""Troubles of a policy server that may pass: it is restarted, it is overloaded, the network is back."""


class PolicyLost(ForehandError):
    """The policy gave no answer for longer than anyone is willing to wait."""


@dataclass(frozen=True)
class Ending:
    """How an episode ended: in words, whether its task was accomplished (None: nobody can tell), after how many steps."""

    reason: str
    success: bool | None
    steps: int


class Drive:
    """Drives a connected ``robot``, episode by episode; a context manager.

    Each control step looks (proprioception, then cameras), takes the policy's answer, commands, and waits for its time.
    The policy thinks in a thread of its own. Most executions wait for its answer; one that is ``beside`` does not. An
    answer that does not come within ``watchdog`` seconds, or a chunk that is used up, makes the robot hold until there is
    something to do. A policy server that is gone is asked again, in a new session, for up to ``patience`` seconds; then
    :class:`PolicyLost` is raised. Every command is brought inside the contract's limits first.

    ``stop``: setting it ends the running episode after its step. Whatever ends an episode, the robot holds.
    """

    def __init__(
        self,
        robot: Robot,
        policy: Policy,
        execution: Execution,
        *,
        forecast: bool = False,
        watchdog: float = 0.5,
        patience: float = 60.0,
        watchers: Sequence[Watcher] = (),
        stop: threading.Event | None = None,
    ) -> None:
        self._limited = robot.limited if isinstance(robot, WatchedRobot) else LimitedRobot(robot)
        self.robot = robot if isinstance(robot, WatchedRobot) else self._limited
        self.report = Report(robot.contract.rate, cut=self._limited.counts)
        self.stop = stop or threading.Event()
        self._execution, self._watchers = execution, watchers
        self._watchdog, self._patience = watchdog, patience
        self._inference = Inference(policy, forecast=forecast)
        self._facts = policy.describe()
        for beyond in out_of_range(self._facts, robot.contract):
            log.warning("the policy was trained to do what this robot does not allow: %s", beyond)

    def __enter__(self) -> Drive:
        return self

    def __exit__(self, *_: object) -> None:
        self._inference.close()

    def episode(self, instruction: str, episode: Episode | None = None, max_steps: int | None = None) -> Ending:
        """Drive one episode: until success, ``max_steps`` control steps, or ``stop``."""
        for watcher in self._watchers:
            watcher.begin(len(self.report.episodes), instruction)
        self._begin(instruction)
        ending = Ending("failed", None, 0)
        try:
            observation = self.robot.reset(episode)
            for unlike in unfamiliar(self._facts, observation, self.robot.contract):
                log.warning("the robot is where the policy never was in training: %s", unlike)
            self.report.begin()
            self._pace = Pace(self.report.rate, sleep=self.stop.wait)
            ending = self._run(observation, max_steps)
        finally:
            self.report.end(instruction, episode, ending.reason, ending.success)
            with suppress(Exception):  # what ended the episode is the error to tell
                self.robot.hold()
            if ending.reason == "failed":
                for watcher in self._watchers:
                    with suppress(Exception):
                        watcher.end("failed", None)
        for watcher in self._watchers:
            watcher.end(ending.reason, ending.success)
        return ending

    def _begin(self, instruction: str) -> None:
        self._inference.begin(instruction)
        self._execution.reset()
        self._holding, self._held_for = True, ""  # a robot that was reset stands still
        self._acted = self._acted_when_asked = 0
        self._trouble: Exception | None = None
        self._hope = time.monotonic() + self._patience

    def _run(self, observation: Observation, max_steps: int | None) -> Ending:
        looked = 0.0
        for step in count():
            reason = ""
            if observation.success:
                reason = "accomplished"
            elif step == max_steps:
                reason = "step limit"
            elif self.stop.is_set():
                reason = "stopped"
            if reason:
                self._show(Moment(step, observation, None, None))
                return Ending(reason, observation.success, step)
            self._step(step, observation, looked)
            started = time.monotonic()
            observation = self.robot.observe()
            looked = time.monotonic() - started
        raise AssertionError("unreachable")

    def _step(self, step: int, observation: Observation, looked: float) -> None:
        started = time.monotonic()
        answer = self._ask(step, observation)
        action = self._execution.next_action()
        decided = time.monotonic()
        if action is None:
            self._hold()
        else:
            action = self._act(action)
        done = time.monotonic()
        seconds = {"observe": looked, "act": done - decided, "step": looked + done - started}
        moment = Moment(
            step,
            observation,
            answer.prediction if answer else None,
            action,
            asked_at=answer.step if answer else None,
            cut=tuple(self._limited.latest) if action is not None else (),
            seconds=seconds | ({"policy": answer.seconds} if answer else {}),
        )
        self._show(moment)
        self.report.add(moment, overrun=self._pace.wait())

    def _ask(self, step: int, observation: Observation) -> Answer | None:
        """Let the policy see ``observation``, ask about it if it is free to think, and take the answer there is."""
        inference, execution = self._inference, self._execution
        answer = self._arrived(0.0) if execution.beside else None
        if inference.idle and execution.needs_prediction:
            inference.ask(step, observation)
            self._acted_when_asked = self._acted
        else:
            inference.see(observation)
        if not execution.beside:
            answer = self._arrived(self._watchdog)
        if answer is not None:
            self._hope, self._trouble = time.monotonic() + self._patience, None
            chunk, age = answer.prediction.actions, self._age(answer, observation)
            self.report.too_late += age >= len(chunk)
            execution.add(chunk, age)
        return answer

    def _arrived(self, timeout: float) -> Answer | None:
        try:
            return self._inference.answer(timeout)
        except PASSING as error:
            if self._trouble is None:
                log.warning("%s\nThe robot holds, and the policy is asked again for %g s.", error, self._patience)
            self._trouble = error
            return None

    def _age(self, answer: Answer, now: Observation) -> int:
        """How many actions of a chunk lie in the past. Time passes for it only if the robot did not wait for it."""
        if not self._execution.beside:
            return self._acted - self._acted_when_asked
        return max(0, round((now.time - answer.observation.time) * self.report.rate))

    def _act(self, action: Action) -> Action:
        commanded = self.robot.act(action)
        self._holding = False
        self._acted += 1
        return commanded

    def _hold(self) -> None:
        """Told once: a body that is told again and again might sag."""
        reason = "policy lost" if self._trouble else "chunk used up" if self._execution.beside else "policy too slow"
        if not self._holding:
            self.robot.hold()
            self._holding, self._held_for = True, reason
            self.report.holds[reason] += 1
            if self.report.holds[reason] == 1 and not self._trouble:
                log.warning("the robot holds: %s; further times are only counted", reason)
        elif self._held_for and self._trouble and self._held_for != reason:  # what was slow turns out to be gone
            self.report.holds += Counter({reason: 1})
            self.report.holds -= Counter({self._held_for: 1})
            self._held_for = reason
        if time.monotonic() > self._hope:
            why = str(self._trouble) if self._trouble else "It never answered: it is stuck, or far too slow."
            raise PolicyLost(f"The policy gave no answer for {self._patience:g} s, and the robot holds. {why}")

    def _show(self, moment: Moment) -> None:
        for watcher in self._watchers:
            watcher.watch(moment)
