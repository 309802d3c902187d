"""The scripted expert of a task."""

from __future__ import annotations

import logging

import numpy as np
from numpy.typing import NDArray

from forehand import Expert
from forehand_libero.experts.plans import solve
from forehand_libero.experts.scene import Scene
from forehand_libero.experts.skills import Skills, Unsolvable
from forehand_libero.simulation import LiberoSimulation

log = logging.getLogger(__name__)


class LiberoExpert(Expert):
    """Solves the task of ``simulation``, whose episode has just begun, by its goal and the poses of its objects."""

    def __init__(self, simulation: LiberoSimulation) -> None:
        self._skills = Skills(Scene(simulation.environment.env))
        self._actions = solve(self._skills)

    def act(self) -> NDArray[np.float32] | None:
        """The next action (7,); None once everything is done, or where no way is found."""
        try:
            return next(self._actions, None)
        except Unsolvable as reason:
            log.info("the expert gives up: %s", reason)
            return None

    @property
    def phase(self) -> str | None:
        """What the hand is doing: approach, grasp, lift, carry, place, …"""
        return self._skills.phase or None
