"""Robot ``tabletop``: the simulated arm and three blocks on a table."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from forehand import Episode, Observation
from forehand_tabletop.arm import panda
from forehand_tabletop.arm.arm_robot import ArmRobot, InvalidAction, NotConnected
from forehand_tabletop.blocks.blocks import BLOCKS, BlockState, sample_blocks
from forehand_tabletop.blocks.scene import build_scene
from forehand_tabletop.blocks.simulation import Simulation
from forehand_tabletop.blocks.tasks import task_of

__all__ = ["InvalidAction", "NotConnected", "TabletopRobot"]

HOME = (0.36, 0.0, 0.20)  # m, of the point between the fingertips
HOME_SPREAD = (0.03, 0.05, 0.03)  # m, around it, where episodes start


class TabletopRobot(ArmRobot):
    """An arm with the Panda's kinematics, and three blocks on a table.

    ``sensors``: names of further sensors, of ``depth_static``, ``depth_wrist``, ``finger_forces`` and
    ``object_positions``.
    """

    home = HOME
    objects = BLOCKS

    def __init__(self, image_size: int = 128, sensors: Sequence[str] = ()) -> None:
        super().__init__(image_size, sensors)
        self._image_size, self._sensors = image_size, tuple(sensors)
        self._simulation: Simulation | None = None
        self._start: dict[str, BlockState] = {}

    def connect(self) -> None:
        """Build the scene; raises :class:`~forehand.utils.rendering.RenderingError` if nothing can draw."""
        if self._simulation is None:
            self._simulation = Simulation(build_scene(), self._image_size)
            self.reset()

    @property
    def simulation(self) -> Simulation:
        """Privileged simulator state: blocks, joints, contacts."""
        if self._simulation is None:
            raise NotConnected("The tabletop robot is not connected; call connect() first.")
        return self._simulation

    def reset(self, episode: Episode | None = None) -> Observation:
        """Lay out the scene that the episode's seed determines (without an episode: that of seed 0)."""
        if episode is not None:
            task_of(episode)
        rng = np.random.default_rng(0 if episode is None else episode.seed)
        blocks = sample_blocks(rng)
        position = np.array(HOME) + rng.uniform(-1, 1, size=3) * HOME_SPREAD
        self.simulation.reset(self._joints_at(position), panda.FINGER_TRAVEL, blocks)
        self._set_target(position, 1.0)
        self.episode, self._start = episode, self.simulation.blocks()
        return self.observe()

    def for_rendering(self, size: int, overview: bool = False) -> TabletopRobot:
        """One with larger images; it has no overview camera."""
        return TabletopRobot(size, self._sensors)

    @property
    def success(self) -> bool | None:
        """Whether the running episode's task is accomplished now; None without an episode."""
        if self.episode is None:
            return None
        return task_of(self.episode).accomplished(self.episode.options, self._start, self.simulation.blocks())

    def close(self) -> None:
        """Free the simulation and its renderer."""
        if self._simulation is not None:
            self._simulation.close()
            self._simulation = None
