"""One episode: a policy drives a robot until the task is accomplished or the steps are used up."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from forehand.errors import ConfigurationError
from forehand.execution import Action, Execution
from forehand.limited_robot import LimitedRobot
from forehand.limits import Clipping
from forehand.policy import Policy, Prediction
from forehand.robot import Episode, Observation, Robot


@dataclass(frozen=True)
class Moment:
    """One control step as it happened, for whoever watches.

    prediction: what the policy answered, None where no answer came in this step; asked_at: the step whose observation it
    answers, where that is another; action: what was commanded next, None where the robot held and at the last moment;
    cut: where limits made less of it than was wanted; seconds: where the time went (``observe``, ``policy``, ``act``).
    """

    step: int
    observation: Observation
    prediction: Prediction | None
    action: Action | None
    asked_at: int | None = None
    cut: tuple[Clipping, ...] = ()
    seconds: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Outcome:
    """Whether the episode's task was accomplished, and after how many control steps it ended."""

    success: bool
    steps: int


class Stopped(Exception):
    """The episode was given up because someone asked for it."""


def rollout(
    robot: Robot,
    policy: Policy,
    episode: Episode,
    execution: Execution,
    *,
    instruction: str | None = None,
    forecast: bool = False,
    watch: Callable[[Moment], None] | None = None,
    stop: Callable[[], bool] | None = None,
) -> Outcome:
    """Drive one episode on a connected robot, in a session of its own; the robot holds afterwards, whatever happens.

    The world waits for the policy, as a simulator does: :func:`forehand.running.drive` is for robots that do not. Every
    command is brought inside the limits of the robot's contract first.

    ``instruction`` is what the policy hears, by default the episode's own; success is judged on the episode either way.
    ``forecast`` asks the policy for its pictures. ``stop`` is asked before every step; :class:`Stopped` is raised if it
    says so. A robot that cannot tell success raises :class:`ConfigurationError`.
    """
    session = policy.open(episode.instruction if instruction is None else instruction)
    execution.reset()
    body = LimitedRobot(robot)
    try:
        observation = body.reset(episode)
        for step in range(episode.max_steps):
            if observation.success:
                break
            if stop is not None and stop():
                raise Stopped
            prediction = None
            if execution.needs_prediction:
                (prediction,) = policy.step([session], [observation], forecast=forecast)
                execution.add(prediction.actions)
            else:
                policy.remember(session, [observation])
            action = execution.next_action()
            if action is None:
                raise ConfigurationError(f"{type(policy).__name__} predicted no action for step {step}.")
            if watch is not None:
                watch(Moment(step, observation, prediction, action))
            observation = body.step(action)
        else:
            step = episode.max_steps
        if observation.success is None:
            raise ConfigurationError(
                f"{type(robot).__name__} cannot tell whether {episode.task!r} was accomplished, "
                f"so nothing can be judged. Use a robot that the benchmark was made for."
            )
        if watch is not None:
            watch(Moment(step, observation, None, None))
        return Outcome(observation.success, step)
    finally:
        # The robot may be what failed; its own error is the one to tell.
        with contextlib.suppress(Exception):
            robot.hold()
        with contextlib.suppress(Exception):
            session.close()
