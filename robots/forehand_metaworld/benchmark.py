"""Benchmark ``metaworld``: fixed goals for judging, drawn ones for demonstrations, and Meta-World's experts."""

from __future__ import annotations

import random
import warnings
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from forehand import Episode, Expert, Robot
from forehand.benchmark import departure_notes
from forehand.errors import ConfigurationError
from forehand.fixed_starts import FixedStartsBenchmark
from forehand_metaworld.robot import GOAL, STANDARD, MetaworldRobot, require_known
from forehand_metaworld.simulation import GOALS, MetaworldSimulation
from forehand_metaworld.tasks import INSTRUCTIONS, tasks_of

LIMIT = 500
"""Control steps, after which the simulator ends an episode itself."""


class MetaworldBenchmark(FixedStartsBenchmark):
    """The tasks of one ``suite`` (:data:`~forehand_metaworld.tasks.SUITES`), or one task by its name.

    ``goals``: how many of the 50 fixed goals of each task are judged; ``max_steps``: control steps of an episode. All
    others are as the robot has them, for :attr:`notes`.
    """

    robots = ("MetaworldRobot",)
    starts_option = "goals"

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
        self.other_names = {task.removesuffix("-v3"): task for task in self.tasks}
        self.starts, self._limit = goals, max_steps
        settings = {"max_steps": (LIMIT, max_steps), "camera": ("near", camera), "render": (STANDARD, render)}
        self.notes = (
            f"Meta-World {suite}: {goals} of {GOALS} fixed goals a task, {max_steps} steps; success is that of any step",
            *departure_notes(settings),
        )

    def start(self, task: str, number: int | None, seed: int) -> Episode:
        """An episode with a fixed goal, or with one that ``seed`` draws."""
        return Episode(task, INSTRUCTIONS[task], seed, self._limit, {GOAL: -1 if number is None else number})

    def expert(self, robot: Robot, episode: Episode, seed: int) -> Expert:
        """Meta-World's scripted policy of the task, in the simulator's own process."""
        if not isinstance(robot, MetaworldRobot):
            raise ConfigurationError("Meta-World's experts need its simulator: they act in its environment alone.")
        return ScriptedExpert(robot.simulation, episode.task)

    def counterfactual_instruction(self, episode: Episode) -> str:
        """The instruction of another task of the suite, or of any, where it has but one; drawn by the episode's seed."""
        others = [task for task in self.tasks if task != episode.task] or [t for t in INSTRUCTIONS if t != episode.task]
        return INSTRUCTIONS[random.Random(episode.seed).choice(others)]


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
