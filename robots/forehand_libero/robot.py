"""Robot ``libero``: the Panda of LIBERO's scenes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from forehand import Episode, Observation, Robot
from forehand.errors import ConfigurationError
from forehand_libero.contract import contract, pictures, state
from forehand_libero.protocols import FRESH
from forehand_libero.protocols import protocol as find_protocol
from forehand_libero.simulation import RATE, LiberoSimulation, Readings
from forehand_libero.sketches import Moment

SUITE, INDEX, STATE, SCENE = "suite", "index", "state", "scene_seed"
"""Options of an episode: its suite; the task's number there; the fixed initial state, or -1 for one that the episode's
seed draws; the seed of what is no part of a fixed state."""

STANDARD, FAST = "standard", "fast"


class LiberoRobot(Robot):
    """The robot of all suites, observed and begun as the ``protocol`` says.

    ``image_size``, ``orientation``, ``rotation``, ``fresh``: instead of the protocol's
    (:class:`~forehand_libero.protocols.Protocol`). ``render``: ``standard``, or ``fast``, without smoothed edges: other
    pictures than the benchmark's.
    """

    patience = 60.0  # an environment is built in some seconds

    def __init__(
        self,
        protocol: str = "seer",
        image_size: int | None = None,
        orientation: str | None = None,
        rotation: str | None = None,
        fresh: str | None = None,
        render: str = STANDARD,
    ) -> None:
        given: dict[str, Any] = {
            "image_size": image_size,
            "orientation": orientation,
            "rotation": rotation,
            "fresh": fresh,
        }
        own = {key: value for key, value in given.items() if value is not None}
        self._protocol = replace(find_protocol(protocol), **own)
        require_known(self._protocol.fresh, render)
        self.contract = contract(self._protocol.image_size, self._protocol.orientation, self._protocol.rotation)
        self._smooth = render == STANDARD
        self._simulation: LiberoSimulation | None = None
        self._seen: Observation | None = None
        self._steps = 0
        self._rehearsed: list[tuple[Observation, Moment]] = []  # by control step
        self._performed: list[tuple[Observation, Moment]] | None = None  # what is left of it, while it is performed

    @property
    def simulation(self) -> LiberoSimulation:
        """Privileged: the simulator."""
        if self._simulation is None:
            raise ConfigurationError("The robot libero is not connected; call connect() first.")
        return self._simulation

    def connect(self) -> None:
        """Import the simulator; scenes are built by :meth:`reset`."""
        if self._simulation is None:
            self._simulation = LiberoSimulation(self._protocol.image_size, self._smooth)

    def reset(self, episode: Episode | None = None) -> Observation:
        """Build the episode's scene, and let it settle; the observation is that before or after, as the protocol says."""
        if episode is None or SUITE not in episode.options:
            raise ConfigurationError("The robot libero needs episodes of benchmark=libero, which name a suite.")
        if self._performed is not None:
            return self._next()
        self._rehearsed.clear()
        options = episode.options
        number = int(options[STATE])
        seed = episode.seed if number < 0 else int(options[SCENE])
        fresh, index = self._protocol.fresh, int(options[INDEX])
        readings = self.simulation.begin(str(options[SUITE]), index, None if number < 0 else number, seed, fresh)
        self.episode, self._steps = episode, 0
        first = self._remembered(self._observed(readings))
        settled = self._settle()
        if settled is None or self._protocol.first == "before":
            self._seen = first
        else:
            self._rehearsed.clear()
            self._seen = self._remembered(self._observed(settled))
        return self._seen

    def observe(self) -> Observation:
        """What was seen last: the world stands still between steps."""
        if self._seen is None:
            raise ConfigurationError("The robot libero was not reset; call reset(episode) first.")
        return self._seen

    def act(self, action: NDArray[np.float32]) -> NDArray[np.float32]:
        """One control step with ``action`` (7,)."""
        if self._performed is not None:
            self._next()
            return action
        readings = self.simulation.step(np.asarray(action, np.float64))
        self._steps += 1
        self._seen = self._remembered(self._observed(readings))
        return action

    @contextmanager
    def rehearsal(self) -> Iterator[None]:
        """A block of one episode in which nothing is drawn: pictures are black, and :meth:`performance` has them."""
        self.simulation.sketching = True
        try:
            yield
        finally:
            self.simulation.sketching = False

    @contextmanager
    def performance(self) -> Iterator[None]:
        """A block in which the rehearsed episode is observed again, with its pictures; actions have no effect.

        It begins with a reset, and has one observation for each step of the rehearsal.
        """
        self._performed, self._rehearsed = self._rehearsed, []
        try:
            yield
        finally:
            self._performed = None

    def hold(self) -> None:
        """Nothing: the world stands still between steps."""

    def close(self) -> None:
        """Free the simulator."""
        if self._simulation is not None:
            self._simulation.close()
        self._simulation = self._seen = None
        self._rehearsed = []

    def _settle(self) -> Readings | None:
        still = np.zeros(7)
        still[6] = self._protocol.settling_gripper
        readings = None
        for _ in range(self._protocol.settling):
            readings = self.simulation.step(still)
        return readings

    def _remembered(self, observation: Observation) -> Observation:
        if self.simulation.sketching:
            self._rehearsed.append((observation, self.simulation.sketches.moment))
        return observation

    def _next(self) -> Observation:
        """The next observation of the rehearsed episode, with its pictures."""
        if not self._performed:
            raise ConfigurationError("The rehearsed episode has ended.")
        observation, moment = self._performed.pop(0)
        drawn = self.simulation.sketches.draw(moment)
        self._seen = replace(observation, images=pictures(drawn, self._protocol.orientation))
        return self._seen

    def _observed(self, readings: Readings) -> Observation:
        return Observation(
            images=pictures(readings, self._protocol.orientation),
            state=state(readings, self._protocol.rotation),
            time=self._steps / RATE,
            success=self.simulation.success,
        )


def require_known(fresh: str, render: str) -> None:
    """Raise :class:`ConfigurationError` for settings that there are not."""
    if fresh not in FRESH:
        raise ConfigurationError(f"fresh is {' or '.join(FRESH)}, not {fresh!r}.")
    if render not in (STANDARD, FAST):
        raise ConfigurationError(f"render is {STANDARD} or {FAST}, not {render!r}.")
