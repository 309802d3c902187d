"""Benchmark ``metaworld``: fixed goals for judging, drawn ones for demonstrations, and Meta-World's experts."""

from __future__ import annotations

import random
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from forehand import Benchmark, Episode, Expert, Robot
from forehand.benchmark import departure_notes, in_turn
from forehand.errors import ConfigurationError, UnknownName, nearest
from forehand_metaworld.robot import GOAL, STANDARD, MetaworldRobot, require_known
from forehand_metaworld.simulation import GOALS, MetaworldSimulation
from forehand_metaworld.tasks import INSTRUCTIONS, tasks_of

LIMIT = 500
"""Control steps, after which the simulator ends an episode itself."""


class MetaworldBenchmark(Benchmark):
    """The tasks of one ``suite`` (:data:`~forehand_metaworld.tasks.SUITES`), or one task by its name.

    ``goals``: how many of the 50 fixed goals of each task are judged; ``max_steps``: control steps of an episode. All
    others are as the robot has them, for :attr:`notes`.
    """

    robots = ("MetaworldRobot",)

    def __init__(
        self,
        suite: str = "mt10",
        goals: int = 10,
        max_steps: int = LIMIT,
        camera: str = "near",
        render: str = STANDARD,
    ) -> None:
        require_known(camera, render)
        self.tasks: Sequence[str] = tasks_of(suite)
        if not 1 <= goals <= GOALS:
            raise ConfigurationError(f"goals={goals}: each task has 1 to {GOALS} fixed goals.")
        if not 1 <= max_steps <= LIMIT:
            raise ConfigurationError(f"max_steps={max_steps}: Meta-World ends an episode after {LIMIT} steps.")
        self._goals, self._limit = goals, max_steps
        settings = {"max_steps": (LIMIT, max_steps), "camera": ("near", camera), "render": (STANDARD, render)}
        self.notes = (
            f"Meta-World {suite}: {goals} of {GOALS} fixed goals a task, {max_steps} steps; success is that of any step",
            *departure_notes(settings),
        )

    def evaluation_options(self, tasks: Sequence[str] | None = None) -> Mapping[str, Any]:
        """Every goal of every task once."""
        return {"episodes": len(self._chosen(tasks)) * self._goals}

    def episodes(self, count: int, seed: int, tasks: Sequence[str] | None = None) -> list[Episode]:
        """``count`` episodes evenly over ``tasks``, with goals that their seeds draw.

        A shorter list with the same arguments is a prefix of a longer one.
        """
        return [self._episode(task, -1, own) for task, _, own in in_turn(self._chosen(tasks), count, seed)]

    def trials(self, count: int, seed: int, tasks: Sequence[str] | None = None) -> list[tuple[Episode, ...]]:
        """The first ``count`` of: goal 0 of each task, goal 1 of each task, and so on; ``seed`` is the policy's.

        Raises :class:`ConfigurationError` for more than there are.
        """
        chosen = self._chosen(tasks)
        most = len(chosen) * self._goals
        if not 0 <= count <= most:
            raise ConfigurationError(
                f"episodes={count}: {len(chosen)} tasks with {self._goals} goals each make {most} at most. "
                f"benchmark.options.goals=… takes more of them, up to {GOALS}."
            )
        return [(self._episode(task, goal, own),) for task, goal, own in in_turn(chosen, count, seed)]

    def expert(self, robot: Robot, episode: Episode, seed: int) -> Expert:
        """Meta-World's scripted policy of the task, in the simulator's own process."""
        if not isinstance(robot, MetaworldRobot):
            raise ConfigurationError("Meta-World's experts need its simulator: they act in its environment alone.")
        return ScriptedExpert(robot.simulation, episode.task)

    def counterfactual_instruction(self, episode: Episode) -> str:
        """The instruction of another task of the suite, or of any, where it has but one; drawn by the episode's seed."""
        others = [task for task in self.tasks if task != episode.task] or [t for t in INSTRUCTIONS if t != episode.task]
        return INSTRUCTIONS[random.Random(episode.seed).choice(others)]

    def _chosen(self, tasks: Sequence[str] | None) -> Sequence[str]:
        """Tasks by their names, with or without the version."""
        if tasks is None:
            return self.tasks
        if not tasks:
            raise ConfigurationError("tasks=[] names none; leave it out for all.")
        full = [task if task in self.tasks else f"{task}-v3" for task in tasks]
        for given, name in zip(tasks, full, strict=True):
            if name not in self.tasks:
                raise UnknownName(f"The suite has no task {given!r}. {nearest(given, self.tasks)}")
        return full

    def _episode(self, task: str, goal: int, seed: int) -> Episode:
        return Episode(task, INSTRUCTIONS[task], seed, self._limit, {GOAL: goal})


class ScriptedExpert(Expert):
    """The policy that Meta-World ships for ``task``; its motions are clipped to the range of actions."""

    def __init__(self, simulation: MetaworldSimulation, task: str) -> None:
        from metaworld.policies import ENV_POLICY_MAP

        self._simulation, self._policy = simulation, ENV_POLICY_MAP[task]()

    def act(self) -> NDArray[np.float32]:
        """The next action (4,)."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # that motions are clipped
            action = self._policy.get_action(self._simulation.numbers)
        return np.clip(action, -1, 1).astype(np.float32)
