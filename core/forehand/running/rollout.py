"""Rollout: one episode with a policy, until success, its end or the step limit."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass

from forehand.control.chunking import Action, ActionChunker
from forehand.control.limited_robot import LimitedRobot
from forehand.control.rest import at_rest_afterwards, rest_action
from forehand.errors import ConfigurationError
from forehand.policy import Policy
from forehand.robot import Episode, Observation, Robot
from forehand.running.control_step import ControlStep, Step
from forehand.running.distribution_shift import DistributionShift
from forehand.running.simulated_inference import SimulatedInference


@dataclass(frozen=True)
class Outcome:
    """How an episode ended.

    success: whether its task was accomplished, None where only rewards judge it; steps: control steps until it ended;
    episode_return: sum of its rewards, where there are any.
    """

    success: bool | None
    steps: int
    episode_return: float | None = None


class Stopped(Exception):
    """The episode was ended by ``stop``."""


def rollout(
    robot: Robot,
    policy: Policy,
    episode: Episode,
    chunker: ActionChunker,
    *,
    instruction: str | None = None,
    forecast: bool = False,
    latency: float = 0.0,
    shift: DistributionShift | None = None,
    on_step: Callable[[Step], None] | None = None,
    stop: Callable[[], bool] | None = None,
) -> Outcome:
    """Drive one episode on a connected robot, in a session of its own; the robot holds afterwards, whatever happens.

    The world waits for the policy, as a simulator does; :mod:`forehand.running.control_loop` is for robots that do not.
    Every command is brought inside the limits of the robot's contract first.

    ``instruction`` is the policy's, by default the episode's own; success is judged on the episode either way. The seed
    of the policy's session is the episode's.
    ``forecast``: whether predictions include images. ``latency``: seconds of simulated time, step / rate, until an answer
    arrives (:class:`~forehand.running.simulated_inference.SimulatedInference`); a step without an action is a hold, as
    :func:`advance` has it. ``shift`` warns of an initial state unlike those of training. ``stop`` is called before every
    step; where it is true, :class:`Stopped` is raised. A robot with neither a success signal nor rewards raises
    :class:`ConfigurationError`, one that does not confirm its hold at the end :class:`forehand.control.rest.HoldUnknown`.
    """
    body = LimitedRobot(robot)
    inference = SimulatedInference(policy, robot.contract.rate, latency=latency, forecast=forecast)
    control = ControlStep(inference, chunker, robot.contract)
    control.begin(episode.instruction if instruction is None else instruction, episode.seed)
    with closing(inference), at_rest_afterwards(robot):
        observation, last = body.reset(episode), None
        if shift is not None:
            shift.check_state(observation)
        for step in range(episode.max_steps):
            if observation.success or observation.ended:
                break
            if stop is not None and stop():
                raise Stopped
            decision = control.decide(step, observation)
            if decision.action is None and inference.idle:
                raise ConfigurationError(f"{type(policy).__name__} predicted no action for step {step}.")
            if on_step is not None:
                on_step(decision.as_step(step, observation))
            observation = advance(body, observation, decision.action, last)
            last = last if decision.action is None else body.commanded  # which its limits may have changed
        else:
            step = episode.max_steps
        if observation.success is None and observation.episode_return is None:
            raise ConfigurationError(
                f"{type(robot.unwrapped).__name__} has no success signal for {episode.task!r}, so that it cannot be "
                f"judged. Use a robot that the benchmark was made for."
            )
        if on_step is not None:
            on_step(Step(step, observation, None, None, ended=True))
        return Outcome(observation.success, step, observation.episode_return)


def advance(robot: Robot, now: Observation, action: Action | None, last: Action | None) -> Observation:
    """The observation one control step after ``now``; without an ``action`` (A,), the robot holds in it.

    Where the robot's clock stands still during a hold, as that of a Gymnasium environment does, it gets the
    :func:`~forehand.control.rest.rest_action` after its ``last`` action as it was commanded, if it had one.
    """
    if action is not None:
        return robot.step(action)
    robot.hold()
    held = robot.observe()
    if last is None or held.time > now.time:
        return held
    return robot.step(rest_action(robot.contract, last))
