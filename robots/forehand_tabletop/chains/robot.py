"""Robot ``tabletop-chains``: the simulated arm at a table with fixtures and blocks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from forehand import Camera, Episode, Observation
from forehand.errors import ConfigurationError
from forehand_tabletop.arm.arm_robot import ArmRobot, NotConnected
from forehand_tabletop.arm.panda import RATE
from forehand_tabletop.chains.chains import PRECEDING
from forehand_tabletop.chains.dimensions import BLOCKS
from forehand_tabletop.chains.disturbances import DISTURBANCES, OPTION, disturbances_from
from forehand_tabletop.chains.experts import ChainExpert
from forehand_tabletop.chains.layout import HOME, lay_out
from forehand_tabletop.chains.pairs import SECOND
from forehand_tabletop.chains.scene import OVERVIEW
from forehand_tabletop.chains.sentences import VAGUE, alternatives
from forehand_tabletop.chains.simulation import ChainSimulation
from forehand_tabletop.chains.tasks import TASKS
from forehand_tabletop.chains.variants import load_variant
from forehand_tabletop.chains.world import CHOICES, SymbolicState, World

PRECEDING_STEPS = 60  # control steps that a task done before an episode may take
PLAY = "play"  # task of an episode without a success condition


class TabletopChainsRobot(ArmRobot):
    """The arm in the variant and with the disturbances that each episode names.

    ``variant``: the first one, until an episode names another; ``render``: ``fast``, or ``high`` quality with shadows and
    smooth edges; ``overview_camera``: whether there is one more camera, which shows all of the arm; ``sensors``: names of
    further sensors, of ``depth_static``, ``depth_wrist``, ``finger_forces`` and ``object_positions``.
    """

    home = HOME
    objects = BLOCKS
    workspace = ((0.26, -0.42, 0.012), (0.80, 0.34, 0.45))  # m
    largest_turn = 1.3  # rad: blocks are turned

    def __init__(
        self,
        image_size: int = 128,
        variant: str = "A",
        render: str = "fast",
        overview_camera: bool = False,
        sensors: Sequence[str] = (),
    ) -> None:
        super().__init__(image_size, sensors)
        self._sensors = tuple(sensors)
        if overview_camera:
            cameras = Camera(OVERVIEW, image_size, image_size, "static"), *self.contract.cameras
            self.contract = replace(self.contract, cameras=cameras)
        self._image_size, self._variant = image_size, variant
        self._render_quality, self._overview = render, overview_camera
        # Those needed so far, by variant and disturbances: each takes half a second to build.
        self._simulations: dict[tuple[str, tuple[str, ...]], ChainSimulation] = {}
        self._disturbances: tuple[str, ...] = ()
        self._start: World | None = None

    def connect(self) -> None:
        """Build the scene; raises :class:`~forehand.utils.rendering.RenderingError` if nothing can draw."""
        if not self._simulations:
            self._select_simulation(self._variant, self._disturbances)
            self.reset()

    @property
    def simulation(self) -> ChainSimulation:
        """Privileged simulator state: the poses of everything."""
        try:
            return self._simulations[self._variant, self._disturbances]
        except KeyError:
            raise NotConnected("The robot tabletop-chains is not connected; call connect() first.") from None

    def reset(self, episode: Episode | None = None) -> Observation:
        """Lay out the scene of the episode's seed and options, or keep the present one if it continues another."""
        self.begin(episode)
        return self.observe()

    def begin(self, episode: Episode | None = None) -> None:
        """What :meth:`reset` does, without rendering."""
        if episode is not None and episode.task not in TASKS and episode.task != PLAY:
            raise ConfigurationError(
                f"The robot tabletop-chains has no task {episode.task!r}; take episodes from the benchmark of that name."
            )
        if episode is None or not episode.continues:
            self._lay_out({} if episode is None else episode.options, 0 if episode is None else episode.seed)
            for task in str("" if episode is None else episode.options.get(PRECEDING, "")).split():
                self._run_expert(task)
        if episode is not None:
            self.simulation.begin(episode.task, episode.seed)
        self.episode, self._start = episode, self.simulation.world()

    @property
    def start(self) -> World:
        """The world at the start of the running episode."""
        if self._start is None:
            raise NotConnected("The robot tabletop-chains is not connected; call connect() first.")
        return self._start

    @property
    def success(self) -> bool | None:
        """Whether the running episode's task is accomplished now, or play has lasted ``max_steps``; else None."""
        if self.episode is None:
            return None
        if self.episode.task == PLAY:
            return self.simulation.time > (self.episode.max_steps - 0.5) / RATE
        options, world = self.episode.options, self.simulation.world()
        asked = (self.episode.task, *([str(options[SECOND])] if SECOND in options else []))
        meant = [alternatives(task) if options.get(VAGUE) else (task,) for task in asked]
        return all(any(TASKS[name].accomplished(self.start, world) for name in names) for names in meant)

    def for_rendering(self, size: int, overview: bool = False) -> TabletopChainsRobot:
        """One with high rendering quality."""
        return TabletopChainsRobot(size, self._variant, "high", overview, self._sensors)

    def close(self) -> None:
        """Free the simulations and their renderers."""
        for simulation in self._simulations.values():
            simulation.close()
        self._simulations.clear()

    def _lay_out(self, options: Mapping[str, str | int | float | bool], seed: int) -> None:
        self.simulation  # noqa: B018  (raises if it is not connected)
        variant, disturbances = str(options.get("variant", self._variant)), str(options.get(OPTION, ""))
        self._select_simulation(variant, disturbances_from(disturbances))
        rng = np.random.default_rng(seed)
        layout = lay_out(start_state(options), self.simulation.variant, rng)
        self.simulation.reset(layout, self._joints_at(layout.hand), seed)
        self._set_target(layout.hand, 1.0 if layout.held is None else -1.0)

    def _run_expert(self, task: str) -> None:
        """Let the expert do ``task`` for up to :data:`PRECEDING_STEPS`, without rendering."""
        start = self.simulation.world()
        expert = ChainExpert(self, task, start)
        for _ in range(PRECEDING_STEPS):
            if TASKS[task].accomplished(start, self.simulation.world()):
                break
            self.act(expert.act())

    def _select_simulation(self, variant: str, disturbances: tuple[str, ...]) -> None:
        key = variant, disturbances
        if key not in self._simulations:
            self._simulations[key] = ChainSimulation(
                load_variant(variant),
                self._image_size,
                self._render_quality,
                [DISTURBANCES[name]() for name in disturbances],
                self._overview,
            )
        self._variant, self._disturbances = key


def start_state(options: Mapping[str, str | int | float | bool]) -> SymbolicState:
    """The symbolic state that an episode's options describe; options that are left out have their defaults."""
    given = {key: str(value) for key, value in options.items() if key in CHOICES}
    for key, value in given.items():
        if value not in CHOICES[key]:
            raise ConfigurationError(
                f"An episode cannot start with {key}={value!r}; {key} is {' or '.join(CHOICES[key])}."
            )
    symbols = SymbolicState(**given)
    if (
        len(symbols.at("held")) > 1
        or len(symbols.at("stacked")) > 1
        or (symbols.at("stacked") and not symbols.at("table"))
    ):
        raise ConfigurationError(
            f"An episode cannot start with {given}: at most one block is held, and at most one is stacked on another."
        )
    return symbols
