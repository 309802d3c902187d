"""Benchmark of a Gymnasium environment: its own episodes, success signal and rewards. No torch."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import gymnasium
import numpy as np

from forehand import Benchmark, Episode
from forehand.errors import ConfigurationError, UnknownName, nearest
from forehand.utils.numbers import count as require_count


@dataclass(frozen=True)
class _Task:
    instruction: str
    options: Mapping[str, Any] = field(default_factory=dict)


class GymnasiumBenchmark(Benchmark):
    """Seeded episodes of the environment ``id``, judged by its success signal, by its rewards, or by both.

    instruction: the policy's instruction, by default the id; max_steps: control steps of an episode, by default the
    environment's own limit; tasks: name → ``{instruction: …, options: {…}}``, of which the options are those of the
    environment's ``reset``, by default one task without options; seeds: of the episodes that are judged, the same for
    every task, by default drawn from the evaluation's seed.
    """

    robots = ("GymnasiumRobot",)

    def __init__(
        self,
        id: str | None = None,
        instruction: str | None = None,
        max_steps: int | None = None,
        tasks: Mapping[str, Mapping[str, Any]] | None = None,
        seeds: Sequence[int] | None = None,
    ) -> None:
        require_count(1, None, **{"benchmark.options.max_steps": max_steps})
        name = id or "episode"
        self._tasks = _read_tasks(tasks) if tasks else {name: _Task(instruction or name)}
        self._max_steps = max_steps or _limit(id)
        self._seeds = None if seeds is None else [int(seed) for seed in seeds]
        self.tasks = tuple(self._tasks)

    def evaluation_options(self, tasks: Sequence[str] | None = None) -> Mapping[str, Any]:
        """Every seed of every task once, where seeds are stated."""
        return {} if self._seeds is None else {"episodes": len(self._seeds) * len(self._chosen(tasks))}

    def episodes(self, count: int, seed: int, tasks: Sequence[str] | None = None) -> list[Episode]:
        """``count`` episodes evenly over ``tasks``; each resets the environment with a seed of its own."""
        chosen = self._chosen(tasks)
        seeds = np.random.default_rng(seed).integers(0, 2**31, count)
        return [self._episode(chosen[i % len(chosen)], int(one)) for i, one in enumerate(seeds)]

    def trials(self, count: int, seed: int, tasks: Sequence[str] | None = None) -> list[tuple[Episode, ...]]:
        """Episodes of the stated seeds, where there are any, else :meth:`episodes`."""
        if self._seeds is None:
            return super().trials(count, seed, tasks)
        chosen = self._chosen(tasks)
        if count > (most := len(chosen) * len(self._seeds)):
            raise ConfigurationError(
                f"episodes={count}: {len(chosen)} tasks with {len(self._seeds)} seeds each make {most} at most."
            )
        return [(self._episode(chosen[i % len(chosen)], self._seeds[i // len(chosen)]),) for i in range(count)]

    def _chosen(self, tasks: Sequence[str] | None) -> Sequence[str]:
        for name in tasks or ():
            if name not in self._tasks:
                raise UnknownName(f"The environment has no task {name!r}. {nearest(name, self.tasks)}")
        return self.tasks if tasks is None else tasks

    def _episode(self, task: str, seed: int) -> Episode:
        described = self._tasks[task]
        return Episode(task, described.instruction, seed, self._max_steps, dict(described.options))


def _read_tasks(tasks: Mapping[str, Mapping[str, Any]]) -> dict[str, _Task]:
    """Tasks as the configuration states them."""
    found = {}
    for name, entry in tasks.items():
        entry = dict(entry or {})
        instruction, options = entry.pop("instruction", name), entry.pop("options", None) or {}
        if entry or not isinstance(options, Mapping):
            raise ConfigurationError(
                f"benchmark.options.tasks.{name} has an instruction and options={{…}} of the environment's reset, "
                f"not {sorted(entry) or options!r}."
            )
        found[str(name)] = _Task(str(instruction), options)
    return found


def _limit(id: str | None) -> int:
    """The steps after which the environment itself would end an episode."""
    package, _, name = (id or "").rpartition(":")
    try:
        if package:
            importlib.import_module(package)
        steps = gymnasium.spec(name).max_episode_steps if name else None
    except (ImportError, gymnasium.error.Error) as error:
        raise ConfigurationError(
            f"Gymnasium has no environment {id!r} in this Python ({error}). Correct robot.options.id; or, where it is in "
            f"an environment of its own, give benchmark.options.max_steps=…"
        ) from error
    if steps is None:
        raise ConfigurationError(
            f"{id or 'The environment'} has no limit on an episode's steps. Give benchmark.options.max_steps=…"
        )
    return steps
