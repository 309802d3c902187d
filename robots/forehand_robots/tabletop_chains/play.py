"""Play: whatever comes to mind, one thing after another, for data without language."""

from __future__ import annotations

import random

from forehand import Expert
from forehand_robots.tabletop_chains.experts import ChainExpert
from forehand_robots.tabletop_chains.robot import TabletopChainsRobot
from forehand_robots.tabletop_chains.skills import Action
from forehand_robots.tabletop_chains.tasks import TASKS
from forehand_robots.tabletop_chains.world import World, symbols_of

PATIENCE = 60  # control steps, after which something else comes to mind


class PlayExpert(Expert):
    """Does one possible task after another, chosen by ``seed``; says in ``task`` what it is about."""

    def __init__(self, robot: TabletopChainsRobot, seed: int) -> None:
        self._robot, self._random = robot, random.Random(seed)
        self.task = ""
        self._choose()

    @property
    def phase(self) -> str:
        """What it is doing, in a word."""
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
        symbols = symbols_of(self._start)
        possible = [name for name, task in TASKS.items() if task.possible(symbols) and name != self.task]
        self.task = self._random.choice(possible)
        self._expert = ChainExpert(self._robot, self.task, self._start)
        self._left = PATIENCE
