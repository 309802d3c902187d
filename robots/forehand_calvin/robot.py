"""Robot ``calvin``: the Panda of CALVIN's scenes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from forehand import Episode, Observation, Robot
from forehand.errors import ConfigurationError
from forehand_calvin.contract import RATE, command, contract, pictures, state
from forehand_calvin.initial_states import initial_state
from forehand_calvin.simulation import CalvinSimulation, Readings, require_known
from forehand_calvin.tasks import KEYS

SCENE, HASHED = "scene", "hashed"
"""Options of an episode beside its symbolic state: the scene, and whether what that leaves open is drawn by its hash, as
the benchmark has it, or by the episode's seed."""


class CalvinRobot(Robot):
    """The robot of all scenes, in the scene and the state that each episode names.

    ``checkout``: folder of ``calvin_env``; None: the one that the environment was made with. ``renderer``: ``egl``, as
    the benchmark has it, or ``cpu``. ``full_state``: whether the state is all of ``robot_obs``.
    """

    patience = 60.0  # a scene is built in some seconds

    def __init__(self, checkout: str | None = None, renderer: str = "egl", full_state: bool = False) -> None:
        require_known(renderer=renderer)
        self._checkout, self._renderer, self._full = checkout, renderer, full_state
        self.contract = contract(full_state)
        self._simulation: CalvinSimulation | None = None
        self._seen: Observation | None = None
        self._steps = 0

    @property
    def simulation(self) -> CalvinSimulation:
        """Privileged: the simulator."""
        if self._simulation is None:
            raise ConfigurationError("The robot calvin is not connected; call connect() first.")
        return self._simulation

    def connect(self) -> None:
        """Import the simulator; scenes are built by :meth:`reset`."""
        if self._simulation is None:
            self._simulation = CalvinSimulation(self._checkout, self._renderer)

    def reset(self, episode: Episode | None = None) -> Observation:
        """Bring the episode's scene to its state; where it continues another, only begin its task."""
        if episode is None or SCENE not in episode.options:
            raise ConfigurationError(
                "The robot calvin needs episodes of benchmark=calvin, which name a scene and a state."
            )
        if episode.continues and self._seen is not None:
            self.simulation.begin_task()
            self._seen = Observation(self._seen.images, self._seen.state, self._seen.time, success=False)
        else:
            options = episode.options
            scene = str(options[SCENE])
            start = {key: value for key in KEYS if isinstance(value := options[key], (str, int))}
            seed = None if options[HASHED] else episode.seed
            wanted = initial_state(start, scene, self.simulation.blocks(scene), seed)
            readings = self.simulation.begin(scene, wanted)
            self._steps = 0
            self._seen = self._observed(readings, success=False)
        self.episode = episode
        return self._seen

    def observe(self) -> Observation:
        """What was seen last: the world stands still between steps."""
        if self._seen is None:
            raise ConfigurationError("The robot calvin was not reset; call reset(episode) first.")
        return self._seen

    def act(self, action: NDArray[np.float32]) -> NDArray[np.float32]:
        """One control step with ``action`` (7,); the gripper opens above 0, and closes otherwise."""
        if self.episode is None:
            raise ConfigurationError("The robot calvin was not reset; call reset(episode) first.")
        sent = command(action)
        readings = self.simulation.step(np.asarray(sent, np.float64))
        self._steps += 1
        self._seen = self._observed(readings, self.simulation.accomplished(self.episode.task))
        return sent

    def hold(self) -> None:
        """Nothing: the world stands still between steps."""

    def close(self) -> None:
        """Free the simulator."""
        if self._simulation is not None:
            self._simulation.close()
        self._simulation = self._seen = self.episode = None

    def _observed(self, readings: Readings, success: bool) -> Observation:
        return Observation(pictures(readings), state(readings, self._full), self._steps / RATE, success)
