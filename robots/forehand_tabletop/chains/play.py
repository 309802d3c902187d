"""Play data: random task sequences without language."""

from __future__ import annotations

import random

from forehand import Expert
from forehand_tabletop.arm.scripted_hand import Action
from forehand_tabletop.chains.experts import ChainExpert
from forehand_tabletop.chains.skills import ChainArm
from forehand_tabletop.chains.tasks import TASKS
from forehand_tabletop.chains.world import World, symbolic_state

TASK_STEPS = 60  # control steps after which another task is chosen


class PlayExpert(Expert):
    """Does one possible task after another, drawn with ``seed``; ``task`` is the name of the present one."""

    def __init__(self, robot: ChainArm, seed: int) -> None:
        self._robot, self._random = robot, random.Random(seed)
        self.task = ""
        self._choose()

    @property
    def phase(self) -> str:
        """The present phase of the motion, in a word."""
        return self._expert.phase

    def act(self) -> Action:
        """The next action (7,)."""
        world = self._robot.simulation.world()
        self._left -= 1
        if self._left == 0 or TASKS[self.task].accomplished(self._start, world):
            self._choose()
        return self._expert.act()

    def _choose(self) -> None:
        self._start: World = self._robot.simulation.world()
        symbols = symbolic_state(self._start)
        possible = [name for name, task in TASKS.items() if task.possible(symbols) and name != self.task]
        self.task = self._random.choice(possible)
        self._expert = ChainExpert(self._robot, self.task, self._start)
        self._left = TASK_STEPS
