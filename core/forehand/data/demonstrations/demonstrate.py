"""Expert demonstrations with random perturbations, so that a policy learns to recover."""

from __future__ import annotations

import functools
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from forehand.benchmark import Benchmark
from forehand.contracts.contract import Contract
from forehand.control.limited_robot import LimitedRobot
from forehand.control.rest import at_rest_afterwards
from forehand.data.recording.recorder import Recorder
from forehand.errors import ConfigurationError
from forehand.robot import Episode, Observation, Robot
from forehand.utils.numbers import not_negative

Action = NDArray[np.float32]


@dataclass(frozen=True)
class Noise:
    """Disturbances of what is carried out, never of what is recorded (DART, Laskey et al. 2017).

    In bursts of ``length`` steps on average, which take up ``share`` of the time, one random vector of standard deviation
    ``std`` is added to the action's field ``field``, in its unit: a push that lasts, as errors of a policy do.
    """

    std: float = 0.0
    share: float = 0.3
    length: float = 5.0
    field: str = "position"

    def __post_init__(self) -> None:
        not_negative(**{"noise.std": self.std, "noise.share": self.share, "noise.length": self.length})
        if self.share >= 1 or self.length < 1:
            raise ConfigurationError(
                f"noise needs share < 1 and length ≥ 1, not share={self.share}, length={self.length}."
            )


class Perturbation:
    """The noise of one episode: maps the expert's actions (A,) to those that are carried out."""

    def __init__(self, noise: Noise, contract: Contract, seed: int | list[int]) -> None:
        self._noise, self._random = noise, np.random.default_rng(seed)
        names = [f.name for f in contract.action]
        if noise.field not in names:
            raise ConfigurationError(f"noise.field is {noise.field!r}, but the action has {', '.join(names)}.")
        number = names.index(noise.field)
        field = contract.action[number]
        first = sum(f.size for f in contract.action[:number])
        self._where = slice(first, first + field.size)
        self._low = np.full(field.size, -np.inf) if field.low is None else np.array(field.low)
        self._high = np.full(field.size, np.inf) if field.high is None else np.array(field.high)
        self._push: NDArray[np.float64] = np.zeros(field.size)
        self._pushing = False

    def __call__(self, action: Action) -> Action:
        """What is carried out instead of ``action``."""
        noise = self._noise
        if self._pushing:
            self._pushing = self._random.random() >= 1 / noise.length
        elif self._random.random() < noise.share / (1 - noise.share) / noise.length:
            self._pushing = True
            self._push = self._random.normal(0.0, noise.std, self._push.shape)
        if not self._pushing:
            return action
        pushed = action.copy()
        pushed[self._where] = np.clip(action[self._where] + self._push, self._low, self._high)
        return pushed


def annotate(benchmark: Benchmark, episode: Episode) -> dict[str, str]:
    """Annotations of every frame of ``episode``: its task, and the options named by ``benchmark.annotations``."""
    named = [name for name in benchmark.annotations if name in episode.options]
    return {"task": episode.task} | {name: str(episode.options[name]) for name in named}


def demonstrate(
    robot: Robot,
    benchmark: Benchmark,
    episode: Episode,
    recorder: Recorder,
    *,
    seed: int | list[int],
    noise: Noise,
    hold_steps: int,
) -> bool:
    """Let the expert solve ``episode`` on a connected robot, and add its observations and actions to ``recorder``.

    The expert reads the state of the unwrapped robot; frames are recorded in the contract of ``robot``, and commands kept
    inside its limits. Frames are annotated as :func:`annotate` returns, and with the expert's ``phase`` where it has one.
    Once the task is accomplished, ``hold_steps`` more are recorded without noise, so that the data show how it ends.
    Returns whether it is accomplished at the end; the caller saves the episode or discards it. The robot holds
    afterwards, or :class:`forehand.control.rest.HoldUnknown` is raised.
    """
    with at_rest_afterwards(robot):
        return _demonstrate(robot, benchmark, episode, recorder, seed, noise, hold_steps)


@runtime_checkable
class Rehearsing(Protocol):
    """A simulated robot that can act without drawing, and show the same episode with its pictures afterwards."""

    def rehearsal(self) -> AbstractContextManager[None]:
        """A block of one episode, from its reset on, in which pictures are not drawn."""

    def performance(self) -> AbstractContextManager[None]:
        """A block in which a reset, and a step after step, observe the rehearsed episode again, with its pictures."""


def _demonstrate(
    robot: Robot,
    benchmark: Benchmark,
    episode: Episode,
    recorder: Recorder,
    seed: int | list[int],
    noise: Noise,
    hold_steps: int,
) -> bool:
    """One episode; where the robot can, it is searched without pictures, and drawn only if it succeeds."""
    body, stage = LimitedRobot(robot), robot.unwrapped
    play = functools.partial(_play, robot, body, benchmark, episode, seed, noise, hold_steps)
    if not isinstance(stage, Rehearsing):
        return play(lambda observation, action, about, _: recorder.add(observation, action, about))
    rehearsed: list[tuple[Action, dict[str, str], Action]] = []
    with stage.rehearsal():
        success = play(lambda _, action, about, done: rehearsed.append((action, about, done)))
    if success:
        with stage.performance():
            observation = body.reset(episode)
            for action, about, done in rehearsed:
                recorder.add(observation, action, about)
                observation = body.step(done)
    return success


def _play(
    robot: Robot,
    body: Robot,
    benchmark: Benchmark,
    episode: Episode,
    seed: int | list[int],
    noise: Noise,
    hold_steps: int,
    add: Callable[[Observation, Action, dict[str, str], Action], None],
) -> bool:
    """Let the expert act; ``add`` gets each observation, the expert's action, annotations, and what is carried out."""
    observation = body.reset(episode)
    expert = benchmark.expert(robot.unwrapped, episode, episode.seed)
    perturb = Perturbation(noise, robot.contract, seed) if noise.std else None
    held = 0
    about = annotate(benchmark, episode)
    for _ in range(episode.max_steps + hold_steps):
        if held == hold_steps and observation.success:
            break
        own = None if observation.ended and not observation.success else expert.act()
        if own is None:
            break
        action = robot.from_unwrapped(own)
        done = perturb(action) if perturb and not observation.success else action
        add(observation, action, about if expert.phase is None else about | {"phase": expert.phase}, done)
        held = held + 1 if observation.success else 0
        observation = body.step(done)
    return bool(observation.success)
