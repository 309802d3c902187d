"""Benchmark ``libero``: fixed initial states for judging, drawn ones for demonstrations by scripted experts."""

from __future__ import annotations

import random
from collections.abc import Sequence

from forehand import Episode, Expert, Robot
from forehand.benchmark import departure_notes
from forehand.errors import ConfigurationError
from forehand.fixed_starts import FixedStartsBenchmark
from forehand_libero.experts.expert import LiberoExpert
from forehand_libero.protocols import protocol as find_protocol
from forehand_libero.robot import INDEX, SCENE, STANDARD, STATE, SUITE, LiberoRobot, require_known
from forehand_libero.suites import original
from forehand_libero.suites import suite as tasks_of

SCENE_SEED = 0
"""Of what is no part of a fixed initial state: fixtures are placed at random, so that it has to be the same each time."""


class LiberoBenchmark(FixedStartsBenchmark):
    """The tasks of one ``suite`` by one ``protocol`` (:data:`~forehand_libero.protocols.PROTOCOLS`).

    ``states``, ``max_steps``: instead of the protocol's; all others: as the robot has them, for :attr:`notes`, which name
    whatever is not as the protocol has it.
    """

    robots = ("LiberoRobot",)
    annotations = (SUITE,)
    starts_option = "states"

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
        self.suite, self._tasks = suite, {task.name: task for task in tasks_of(suite)}
        self.tasks: Sequence[str] = list(self._tasks)
        self.other_names = {task.instruction: name for name, task in self._tasks.items()}
        most = min(task.states for task in self._tasks.values())
        self.starts = min(own.states, most) if states is None else states
        if not 1 <= self.starts <= most:
            raise ConfigurationError(f"states={states}: the tasks of {suite} have 1 to {most} fixed initial states.")
        self._limit = own.limit(suite) if max_steps is None else max_steps
        self.evaluation = own.evaluation
        settings = {
            "states": (own.states, self.starts),
            "max_steps": (own.limits.get(original(suite), own.limits.get("")), self._limit),
            "fresh": (own.fresh, fresh or own.fresh),
            "render": (STANDARD, render),
            "image_size": (own.image_size, image_size or own.image_size),
            "orientation": (own.orientation, orientation or own.orientation),
            "rotation": (own.rotation, rotation or own.rotation),
        }
        self.notes = (
            f"{suite} by the protocol {own.name}: {self.starts} fixed states a task, {self._limit} steps",
            *departure_notes(settings),
        )

    def start(self, task: str, number: int | None, seed: int) -> Episode:
        """An episode from a fixed initial state, or from one that ``seed`` draws."""
        one, state = self._tasks[task], -1 if number is None else number
        options: dict[str, str | int] = {SUITE: self.suite, INDEX: one.index, STATE: state, SCENE: SCENE_SEED}
        return Episode(task, one.instruction, seed, self._limit, options)

    def expert(self, robot: Robot, episode: Episode, seed: int) -> Expert:
        """A scripted expert on the poses of the scene's objects, in the simulator's own process."""
        if not isinstance(robot, LiberoRobot):
            raise ConfigurationError("LIBERO's experts need its simulator: they act in its environment alone.")
        return LiberoExpert(robot.simulation)

    def counterfactual_instruction(self, episode: Episode) -> str:
        """The instruction of another task of the suite, drawn by the episode's seed; its objects may be elsewhere."""
        others = sorted({task.instruction for task in self._tasks.values()} - {episode.instruction})
        return random.Random(episode.seed).choice(others)
