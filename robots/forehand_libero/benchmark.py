"""Benchmark ``libero``: fixed initial states for judging, drawn ones for demonstrations by scripted experts."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any

from forehand import Benchmark, Episode, Expert, Robot
from forehand.benchmark import departure_notes, in_turn
from forehand.errors import ConfigurationError, UnknownName, nearest
from forehand_libero.experts.expert import LiberoExpert
from forehand_libero.protocols import protocol as find_protocol
from forehand_libero.robot import INDEX, SCENE, STANDARD, STATE, SUITE, LiberoRobot, require_known
from forehand_libero.suites import Task, original
from forehand_libero.suites import suite as tasks_of

SCENE_SEED = 0
"""Of what is no part of a fixed initial state: fixtures are placed at random, so that it has to be the same each time."""


class LiberoBenchmark(Benchmark):
    """The tasks of one ``suite`` by one ``protocol`` (:data:`~forehand_libero.protocols.PROTOCOLS`).

    ``states``, ``max_steps``: instead of the protocol's; all others: as the robot has them, for :attr:`notes`, which name
    whatever is not as the protocol has it.
    """

    robots = ("LiberoRobot",)
    annotations = (SUITE,)

    def __init__(
        self,
        suite: str = "libero_10",
        protocol: str = "seer",
        states: int | None = None,
        max_steps: int | None = None,
        fresh: str | None = None,
        render: str = STANDARD,
        image_size: int | None = None,
        orientation: str | None = None,
        rotation: str | None = None,
    ) -> None:
        own = find_protocol(protocol)
        require_known(fresh or own.fresh, render)
        self.suite, self._tasks = suite, tasks_of(suite)
        self.tasks: Sequence[str] = [task.name for task in self._tasks]
        most = min(task.states for task in self._tasks)
        self._states = min(own.states, most) if states is None else states
        if not 1 <= self._states <= most:
            raise ConfigurationError(f"states={states}: the tasks of {suite} have 1 to {most} fixed initial states.")
        self._limit = own.limit(suite) if max_steps is None else max_steps
        self._evaluation = own.evaluation
        settings = {
            "states": (own.states, self._states),
            "max_steps": (own.limits.get(original(suite), own.limits.get("")), self._limit),
            "fresh": (own.fresh, fresh or own.fresh),
            "render": (STANDARD, render),
            "image_size": (own.image_size, image_size or own.image_size),
            "orientation": (own.orientation, orientation or own.orientation),
            "rotation": (own.rotation, rotation or own.rotation),
        }
        self.notes = (
            f"{suite} by the protocol {own.name}: {self._states} fixed states a task, {self._limit} steps",
            *departure_notes(settings),
        )

    def evaluation_options(self, tasks: Sequence[str] | None = None) -> Mapping[str, Any]:
        """Every fixed state of every task once, and how the protocol carries out a policy's actions."""
        return {"episodes": len(self._chosen(tasks)) * self._states, **self._evaluation}

    def episodes(self, count: int, seed: int, tasks: Sequence[str] | None = None) -> list[Episode]:
        """``count`` episodes evenly over ``tasks``, from initial states that their seeds draw, apart from the fixed ones.

        A shorter list with the same arguments is a prefix of a longer one.
        """
        return [self._episode(task, -1, own) for task, _, own in in_turn(self._chosen(tasks), count, seed)]

    def trials(self, count: int, seed: int, tasks: Sequence[str] | None = None) -> list[tuple[Episode, ...]]:
        """The first ``count`` of: state 0 of each task, state 1 of each task, and so on; ``seed`` is the policy's.

        Raises :class:`ConfigurationError` for more than there are.
        """
        chosen = self._chosen(tasks)
        most = len(chosen) * self._states
        if not 0 <= count <= most:
            raise ConfigurationError(
                f"episodes={count}: {len(chosen)} tasks with {self._states} fixed states each make {most} at most. "
                f"benchmark.options.states=… takes more of them."
            )
        return [(self._episode(task, state, own),) for task, state, own in in_turn(chosen, count, seed)]

    def expert(self, robot: Robot, episode: Episode, seed: int) -> Expert:
        """A scripted expert on the poses of the scene's objects, in the simulator's own process."""
        if not isinstance(robot, LiberoRobot):
            raise ConfigurationError("LIBERO's experts need its simulator: they act in its environment alone.")
        return LiberoExpert(robot.simulation)

    def counterfactual_instruction(self, episode: Episode) -> str:
        """The instruction of another task of the suite, drawn by the episode's seed; its objects may be elsewhere."""
        others = sorted({task.instruction for task in self._tasks} - {episode.instruction})
        return random.Random(episode.seed).choice(others)

    def _chosen(self, tasks: Sequence[str] | None) -> list[Task]:
        """Tasks by their names or instructions."""
        if tasks is None:
            return self._tasks
        known = {task.instruction: task for task in self._tasks} | {task.name: task for task in self._tasks}
        for name in tasks:
            if name not in known:
                raise UnknownName(f"The suite {self.suite} has no task {name!r}. {nearest(name, self.tasks)}")
        if not tasks:
            raise ConfigurationError("tasks=[] names none; leave it out for all.")
        return [known[name] for name in tasks]

    def _episode(self, task: Task, state: int, seed: int) -> Episode:
        options: dict[str, str | int] = {SUITE: self.suite, INDEX: task.index, STATE: state, SCENE: SCENE_SEED}
        return Episode(task.name, task.instruction, seed, self._limit, options)
