"""Benchmark of a Gymnasium environment: its own episodes and success signal. No torch."""

from __future__ import annotations

import importlib
from collections.abc import Sequence

import gymnasium
import numpy as np

from forehand import Benchmark, Episode
from forehand.errors import ConfigurationError
from forehand.utils.numbers import count as require_count


class GymnasiumBenchmark(Benchmark):
    """Seeded episodes of the environment ``id``, one task; success is that of :class:`GymnasiumRobot`'s observations.

    instruction: the policy's instruction, by default the id; max_steps: control steps of an episode, by default the
    environment's own limit.
    """

    robots = ("GymnasiumRobot",)

    def __init__(self, id: str | None = None, instruction: str | None = None, max_steps: int | None = None) -> None:
        require_count(1, None, **{"benchmark.options.max_steps": max_steps})
        self._task = id or "episode"
        self._instruction = instruction or self._task
        self._max_steps = max_steps or _limit(id)
        self.tasks = (self._task,)

    def episodes(self, count: int, seed: int, tasks: Sequence[str] | None = None) -> list[Episode]:
        """``count`` episodes; each resets the environment with a seed of its own."""
        if unknown := sorted(set(tasks or ()) - set(self.tasks)):
            raise ConfigurationError(f"The environment has one task, {self._task!r}, not {unknown}.")
        seeds = np.random.default_rng(seed).integers(0, 2**31, count)
        return [Episode(self._task, self._instruction, int(one), self._max_steps) for one in seeds]


def _limit(id: str | None) -> int:
    """The steps after which the environment itself would end an episode."""
    package, _, name = (id or "").rpartition(":")
    try:
        if package:
            importlib.import_module(package)
        steps = gymnasium.spec(name).max_episode_steps if name else None
    except (ImportError, gymnasium.error.Error) as error:
        raise ConfigurationError(f"Gymnasium has no environment {id!r}: {error}. Correct robot.options.id.") from error
    if steps is None:
        raise ConfigurationError(
            f"{id or 'The environment'} has no limit on an episode's steps. Give benchmark.options.max_steps=…"
        )
    return steps
