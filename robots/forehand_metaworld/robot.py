"""Robot ``metaworld``: the Sawyer of Meta-World's scenes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from forehand import Episode, Observation, Robot
from forehand.errors import ConfigurationError
from forehand.utils.numbers import count
from forehand_metaworld.contract import contract
from forehand_metaworld.simulation import CAMERAS, RATE, MetaworldSimulation

GOAL = "goal"
"""Option of an episode: the number of its fixed goal, or -1 for one that the episode's seed draws."""

STANDARD, FAST = "standard", "fast"


class MetaworldRobot(Robot):
    """The robot of all tasks.

    ``image_size``: of both cameras, pixels. ``camera``: ``near``, where evaluations from pictures have it, or ``model``.
    ``render``: ``standard``, or ``fast``, without shadows, mirrors and smoothed edges: not the benchmark's pictures.
    """

    def __init__(self, image_size: int = 128, camera: str = "near", render: str = STANDARD) -> None:
        count(1, **{"robot.options.image_size": image_size})
        require_known(camera, render)
        self.contract = contract(image_size)
        self._image_size, self._near, self._smooth = image_size, camera == "near", render == STANDARD
        self._simulation: MetaworldSimulation | None = None
        self._seen: Observation | None = None
        self._steps = 0

    @property
    def simulation(self) -> MetaworldSimulation:
        """Privileged: the simulator."""
        if self._simulation is None:
            raise ConfigurationError("The robot metaworld is not connected; call connect() first.")
        return self._simulation

    def connect(self) -> None:
        """Import the simulator; scenes are built by :meth:`reset`."""
        if self._simulation is None:
            self._simulation = MetaworldSimulation(self._image_size, self._smooth, self._near)

    def reset(self, episode: Episode | None = None) -> Observation:
        """Build the episode's scene."""
        if episode is None or GOAL not in episode.options:
            raise ConfigurationError("The robot metaworld needs episodes of benchmark=metaworld, which name a goal.")
        goal = int(episode.options[GOAL])
        self.simulation.begin(episode.task, None if goal < 0 else goal, episode.seed)
        self.episode, self._steps, self._seen = episode, 0, None
        return self.observe()

    def observe(self) -> Observation:
        """What is seen now: the world stands still between steps, so nothing is drawn twice."""
        if self.episode is None:
            raise ConfigurationError("The robot metaworld was not reset; call reset(episode) first.")
        if self._seen is None:
            readings = self.simulation.readings()
            self._seen = Observation(
                images={name: readings[name] for name in CAMERAS},
                state=np.asarray(readings["numbers"][:4], np.float32),
                time=self._steps / RATE,
                success=self.simulation.success,
            )
        return self._seen

    def act(self, action: NDArray[np.float32]) -> NDArray[np.float32]:
        """One control step with ``action`` (4,)."""
        self.simulation.step(np.asarray(action, np.float64))
        self._steps += 1
        self._seen = None
        return action

    def hold(self) -> None:
        """Nothing: the world stands still between steps."""

    def close(self) -> None:
        """Free the simulator."""
        if self._simulation is not None:
            self._simulation.close()
        self._simulation = self._seen = self.episode = None


def require_known(camera: str, render: str) -> None:
    """Raise :class:`ConfigurationError` for settings that there are not."""
    if camera not in ("near", "model"):
        raise ConfigurationError(f"camera is near or model, not {camera!r}.")
    if render not in (STANDARD, FAST):
        raise ConfigurationError(f"render is {STANDARD} or {FAST}, not {render!r}.")
