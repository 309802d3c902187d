"""Benchmarks whose tasks have numbered fixed starts: these for judging, drawn ones for demonstrations."""

from __future__ import annotations

import random
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

from forehand.benchmark import Benchmark, redrawn_seed
from forehand.errors import ConfigurationError, UnknownName, nearest
from forehand.robot import Episode


class FixedStartsBenchmark(Benchmark):
    """Benchmark that judges each task from its first :attr:`starts` fixed starts (initial states, goals), and no others.

    A subclass sets :attr:`tasks` and what follows, and makes single episodes (:meth:`start`).
    """

    starts: int
    """How many fixed starts of each task are judged."""
    starts_option: str
    """Its option that says how many: ``states``, ``goals``."""
    evaluation: Mapping[str, Any] = {}
    """Options of ``forehand eval`` that its protocol prescribes, beside the number of episodes."""
    other_names: Mapping[str, str] = {}
    """Other names that its tasks may be chosen by → the tasks."""

    @abstractmethod
    def start(self, task: str, number: int | None, seed: int) -> Episode:
        """An episode of ``task`` from its fixed start ``number``, or, for None, from one that ``seed`` draws."""

    def evaluation_options(self, tasks: Sequence[str] | None = None) -> Mapping[str, Any]:
        """Every fixed start of every task once, and what else the protocol prescribes."""
        return {"episodes": len(self.chosen(tasks)) * self.starts, **self.evaluation}

    def episodes(self, count: int, seed: int, tasks: Sequence[str] | None = None) -> list[Episode]:
        """``count`` episodes evenly over ``tasks``, from starts that their seeds draw, apart from the fixed ones.

        A shorter list with the same arguments is a prefix of a longer one.
        """
        return [self.start(task, None, own) for task, _, own in _in_turn(self.chosen(tasks), count, seed)]

    def trials(self, count: int, seed: int, tasks: Sequence[str] | None = None) -> list[tuple[Episode, ...]]:
        """The first ``count`` of: start 0 of each task, start 1 of each task, and so on; ``seed`` is the policy's.

        Raises :class:`ConfigurationError` for more than there are.
        """
        chosen = self.chosen(tasks)
        most = len(chosen) * self.starts
        if not 0 <= count <= most:
            raise ConfigurationError(
                f"episodes={count}: {len(chosen)} tasks with {self.starts} fixed {self.starts_option} each make {most} "
                f"at most. benchmark.options.{self.starts_option}=… sets how many of them are judged."
            )
        return [(self.start(task, number, own),) for task, number, own in _in_turn(chosen, count, seed)]

    def redrawn(self, trial: tuple[Episode, ...]) -> tuple[Episode, ...]:
        """The same tasks from starts that are drawn as those of demonstrations are."""
        return tuple(self.start(episode.task, None, redrawn_seed(episode.seed)) for episode in trial)

    def chosen(self, tasks: Sequence[str] | None) -> Sequence[str]:
        """The tasks that ``tasks`` names, by their own names or others; None: all. Unknown ones raise UnknownName."""
        if tasks is None:
            return self.tasks
        if not tasks:
            raise ConfigurationError("tasks=[] names none; leave it out for all.")
        found = [self.other_names.get(name, name) for name in tasks]
        for given, name in zip(tasks, found, strict=True):
            if name not in self.tasks:
                raise UnknownName(f"The benchmark has no task {given!r}. {nearest(given, self.tasks)}")
        return found


def _in_turn(tasks: Sequence[str], count: int, seed: int) -> list[tuple[str, int, int]]:
    """``count`` times a task, how often it had its turn before, and a seed of its own; all tasks in turn."""
    seeds = random.Random(seed).sample(range(2**31), count)
    return [(tasks[i % len(tasks)], i // len(tasks), one) for i, one in enumerate(seeds)]
