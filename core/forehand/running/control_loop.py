"""Real-time control loop: observe, infer, limit, act, at the contract's rate."""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from typing import Any

from forehand.control.chunking import ActionChunker
from forehand.control.limited_robot import behind_limits
from forehand.control.rest import Rest, at_rest_afterwards
from forehand.errors import ForehandError
from forehand.policy import Policy
from forehand.robot import Episode, Observation, Robot
from forehand.running.control_step import ControlStep, Decision, Step
from forehand.running.distribution_shift import DistributionShift
from forehand.running.inference import Inference
from forehand.running.observers import StepObserver
from forehand.running.rate import Rate
from forehand.running.report import Report
from forehand.utils.numbers import not_negative, positive

log = logging.getLogger(__name__)


class PolicyUnavailable(ForehandError):
    """The policy gave no answer for longer than anyone is willing to wait."""


@dataclass(frozen=True)
class EpisodeEnd:
    """End of an episode: the reason, whether its task was accomplished (None: unknown), and the number of steps."""

    reason: str
    success: bool | None
    steps: int


class ControlLoop:
    """Drives a connected ``robot``, episode by episode; a context manager.

    Each control step looks (proprioception, then cameras), takes the policy's answer, commands, and waits for its time.
    The policy runs in a thread of its own. Most executions wait for its answer; an ``asynchronous`` one does not. An
    answer that does not come within ``policy_timeout`` seconds, or a chunk that is used up, makes the robot hold until
    there is an action. Requests to a lost policy server are repeated, in a new session, for up to ``reconnect_timeout``
    seconds; then :class:`PolicyUnavailable` is raised. Every command is brought inside the contract's limits first.

    ``stop``: setting it ends the running episode after its step. Whatever ends an episode, the robot is let hold.
    """

    def __init__(
        self,
        robot: Robot,
        policy: Policy,
        chunker: ActionChunker,
        *,
        forecast: bool = False,
        policy_timeout: float = 0.5,
        reconnect_timeout: float = 60.0,
        observers: Sequence[StepObserver] = (),
        stop: threading.Event | None = None,
    ) -> None:
        positive(policy_timeout=policy_timeout)
        not_negative(reconnect_timeout=reconnect_timeout)
        self.robot, self._limited = behind_limits(robot)
        self.report = Report(robot.contract.rate, clipped=self._limited.counts)
        self.stop = stop or threading.Event()
        self._chunker, self._observers, self._reconnect_timeout = chunker, observers, reconnect_timeout
        self._inference = Inference(policy, forecast=forecast)
        self._control = ControlStep(self._inference, chunker, robot.contract, policy_timeout)
        self._shift = DistributionShift(policy.describe(), robot.contract)
        self._shift.check_action_range()

    def __enter__(self) -> ControlLoop:
        return self

    def __exit__(self, *_: object) -> None:
        self._inference.close()

    def episode(self, instruction: str, episode: Episode | None = None, max_steps: int | None = None) -> EpisodeEnd:
        """Drive one episode: until success, ``stop``, or so many control steps as ``max_steps`` or the episode allows.

        Raises :class:`~forehand.control.rest.HoldUnknown` where the robot does not confirm that it holds at the end.
        """
        for observer in self._observers:
            observer.on_episode_start(len(self.report.episodes), instruction)
        self._begin(instruction, len(self.report.episodes) if episode is None else episode.seed)
        ending, rest = EpisodeEnd("failed", None, 0), Rest()
        try:
            with at_rest_afterwards(self.robot) as rest:
                observation = self.robot.reset(episode)
                self._shift.check_state(observation)
                self.report.begin()
                self._timer = Rate(self.report.rate, sleep=self.stop.wait)
                ending = self._run(observation, _smaller(max_steps, episode.max_steps if episode else None))
        except BaseException:
            with suppress(Exception):  # the error to raise is the one that ended the episode
                self._end(instruction, episode, ending, rest)
            raise
        self._end(instruction, episode, ending, rest)
        return ending

    def _end(self, instruction: str, episode: Episode | None, ending: EpisodeEnd, rest: Rest) -> None:
        self.report.end(instruction, episode, ending.reason, ending.success, holds=rest.known or None)
        failures: list[Exception] = []
        for observer in self._observers:
            try:
                observer.on_episode_end(ending.reason, ending.success)
            except Exception as error:  # raised after all observers were called
                failures.append(error)
        if failures:
            raise failures[0]

    def _begin(self, instruction: str, seed: int) -> None:
        self._control.begin(instruction, seed)
        self._holding, self._held_for = True, ""  # a robot that was reset stands still
        self._give_up_at = time.monotonic() + self._reconnect_timeout

    def _run(self, observation: Observation, max_steps: int | None) -> EpisodeEnd:
        looked = 0.0
        for step in count():
            reason = ""
            if observation.success:
                reason = "accomplished"
            elif observation.ended:
                reason = "ended by the environment"
            elif step == max_steps:
                reason = "step limit"
            elif self.stop.is_set():
                reason = "stopped"
            if reason:
                self._notify(Step(step, observation, None, None, ended=True))
                return EpisodeEnd(reason, observation.success, step)
            self._step(step, observation, looked)
            started = time.monotonic()
            observation = self.robot.observe()
            looked = time.monotonic() - started
        raise AssertionError("unreachable")

    def _step(self, step: int, observation: Observation, looked: float) -> None:
        started = time.monotonic()
        decision = self._decide(step, observation)
        decided = time.monotonic()
        commanded: dict[str, Any] = {}
        if decision.action is None:
            self._hold()
        else:
            commanded["action"] = self.robot.act(decision.action)
            commanded["clippings"] = tuple(self._limited.latest)
            self._holding = False
        done = time.monotonic()
        seconds = {"observe": looked, "act": done - decided, "step": looked + done - started}
        if decision.answer is not None:
            seconds["policy"] = decision.answer.seconds
        record = decision.as_step(step, observation, seconds=seconds, **commanded)
        self._notify(record)
        self.report.add(record, overrun=self._timer.wait())

    def _decide(self, step: int, observation: Observation) -> Decision:
        lost = self._control.last_error is not None
        decision = self._control.decide(step, observation)
        if decision.answer is not None:
            self._give_up_at = time.monotonic() + self._reconnect_timeout
            self.report.expired += decision.expired
        elif not lost and (error := self._control.last_error) is not None:
            log.warning("%s\nThe robot holds, and requests are repeated for %g s.", error, self._reconnect_timeout)
        return decision

    def _hold(self) -> None:
        """Command a hold once: repeated holds could let an arm sag."""
        error = self._control.last_error
        reason = "policy lost" if error else "chunk used up" if self._chunker.asynchronous else "policy too slow"
        if not self._holding:
            self.robot.hold()
            self._holding, self._held_for = True, reason
            self.report.holds[reason] += 1
            if self.report.holds[reason] == 1 and not error:
                log.warning("the robot holds: %s; further times are only counted", reason)
        elif self._held_for and error and self._held_for != reason:  # what was slow turns out to be gone
            self.report.holds += Counter({reason: 1})
            self.report.holds -= Counter({self._held_for: 1})
            self._held_for = reason
        if time.monotonic() > self._give_up_at:
            why = str(error) if error else "It never answered: it is stuck, or far too slow."
            raise PolicyUnavailable(
                f"The policy gave no answer for {self._reconnect_timeout:g} s, and the robot holds. {why}"
            )

    def _notify(self, step: Step) -> None:
        for observer in self._observers:
            observer.on_step(step)


def _smaller(one: int | None, other: int | None) -> int | None:
    """The smaller of two limits, where None is none."""
    return min((limit for limit in (one, other) if limit is not None), default=None)
