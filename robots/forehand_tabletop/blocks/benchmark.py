"""Benchmark ``tabletop``: push, lift and stack coloured blocks."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence

from forehand import Benchmark, Episode, Expert, Robot
from forehand.errors import ConfigurationError, UnknownName, nearest
from forehand.registry import indefinite
from forehand_tabletop.blocks.tasks import TASKS, task_of


class TabletopBenchmark(Benchmark):
    """Seeded episodes for the robot ``tabletop``. The seed alone determines the scene; the task selects the block."""

    robots = ("TabletopRobot",)
    tasks: Sequence[str] = tuple(TASKS)

    def episodes(self, count: int, seed: int, tasks: Sequence[str] | None = None) -> list[Episode]:
        """``count`` episodes with distinct seeds, evenly over ``tasks`` and over the blocks that each can be about.

        A shorter list with the same arguments is a prefix of a longer one. Raises
        :class:`~forehand.errors.UnknownName` for a task that the benchmark does not have.
        """
        names = self.tasks if tasks is None else tasks
        for name in names:
            if name not in TASKS:
                raise UnknownName(f"The benchmark 'tabletop' has no task {name!r}. {nearest(name, TASKS)}")
        if not names or count < 0:
            raise ConfigurationError(f"Cannot make {count} episodes of the tasks {list(names)}.")
        seeds = random.Random(seed).sample(range(2**31), count)
        return [
            _episode(names[index % len(names)], index // len(names), episode_seed)
            for index, episode_seed in enumerate(seeds)
        ]

    def other_episode(self, episode: Episode) -> Episode:
        """The same scene under another sentence of the same task, about a different block; the same one each time."""
        choices = [c for c in task_of(episode).choices if c["block"] != episode.options["block"]]
        return _chosen(episode.task, random.Random(episode.seed).choice(choices), episode.seed)

    def counterfactual_instruction(self, episode: Episode) -> str:
        """The instruction of :meth:`other_episode`: following it does not accomplish ``episode``."""
        return self.other_episode(episode).instruction

    def expert(self, robot: Robot, episode: Episode, seed: int) -> Expert:
        """The scripted expert, which needs the simulator in this process; it is deterministic and ignores ``seed``."""
        from forehand_tabletop.blocks.expert import TabletopExpert  # the simulator: not needed to list episodes
        from forehand_tabletop.blocks.robot import TabletopRobot

        if not isinstance(robot, TabletopRobot):
            raise ConfigurationError(
                f"The tabletop's expert reads the simulator's state, so it needs the robot 'tabletop' in its own "
                f"process; it was given {indefinite(type(robot).__name__)}."
            )
        return TabletopExpert(robot, episode)


def _episode(task: str, turn: int, seed: int) -> Episode:
    choices = TASKS[task].choices
    return _chosen(task, choices[turn % len(choices)], seed)


def _chosen(task: str, options: Mapping[str, str], seed: int) -> Episode:
    family = TASKS[task]
    return Episode(task, family.instruction(options), seed, family.max_steps, dict(options))
