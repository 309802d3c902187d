"""The robot ``tabletop-chains``: the arm, at a table with drawer, sliding door, slider, button, switch and blocks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from forehand import Camera, Episode, Observation
from forehand.errors import ConfigurationError
from forehand_robots.tabletop.arm_robot import ArmRobot, NotConnected
from forehand_robots.tabletop.scene import RATE
from forehand_robots.tabletop_chains.chains import BEFORE
from forehand_robots.tabletop_chains.disturbances import OPTION, disturbances_from
from forehand_robots.tabletop_chains.layout import HOME, lay_out
from forehand_robots.tabletop_chains.scene import PORTRAIT
from forehand_robots.tabletop_chains.simulation import ChainSimulation
from forehand_robots.tabletop_chains.tasks import TASKS
from forehand_robots.tabletop_chains.variants import load_variant
from forehand_robots.tabletop_chains.world import CHOICES, Symbols, World

PATIENCE = 60  # control steps that a task done before an episode may take
PLAY = "play"  # an episode without a task, which lasts until it ends


class TabletopChainsRobot(ArmRobot):
    """The arm in one of the variants, which each episode names, with the disturbances that it names.

    ``variant``: the one it is connected in, until an episode names another; ``look``: ``fast``, or ``pretty`` with
    shadows and smooth edges, for people; ``portrait``: whether there is one more camera, which sees all of the arm.
    """

    home = HOME
    workspace = ((0.26, -0.42, 0.012), (0.80, 0.34, 0.45))  # m
    largest_turn = 1.3  # rad: blocks are turned

    def __init__(self, image_size: int = 128, variant: str = "A", look: str = "fast", portrait: bool = False) -> None:
        super().__init__(image_size)
        if portrait:
            cameras = Camera(PORTRAIT, image_size, image_size, "static"), *self.contract.cameras
            self.contract = replace(self.contract, cameras=cameras)
        self._image_size, self._variant, self._look, self._portrait = image_size, variant, look, portrait
        # Those that were needed so far, by variant and disturbances: they take half a second each.
        self._simulations: dict[tuple[str, tuple[str, ...]], ChainSimulation] = {}
        self._disturbances: tuple[str, ...] = ()
        self._start: World | None = None

    def connect(self) -> None:
        """Build the scene; raises :class:`~forehand_robots.tabletop.rendering.RenderingError` if nothing can draw."""
        if not self._simulations:
            self._enter(self._variant, self._disturbances)
            self.reset()

    @property
    def simulation(self) -> ChainSimulation:
        """What is privileged to the simulator: where everything is."""
        try:
            return self._simulations[self._variant, self._disturbances]
        except KeyError:
            raise NotConnected("The robot tabletop-chains is not connected; call connect() first.") from None

    def reset(self, episode: Episode | None = None) -> Observation:
        """Lay out the scene of the episode's seed and options, or go on in the present one if it continues another."""
        self.begin(episode)
        return self.observe()

    def begin(self, episode: Episode | None = None) -> None:
        """What :meth:`reset` does, without looking at the cameras."""
        if episode is not None and episode.task not in TASKS and episode.task != PLAY:
            raise ConfigurationError(
                f"The robot tabletop-chains has no task {episode.task!r}; take episodes from the benchmark of that name."
            )
        if episode is None or not episode.continues:
            self._lay_out({} if episode is None else episode.options, 0 if episode is None else episode.seed)
            for task in str("" if episode is None else episode.options.get(BEFORE, "")).split():
                self._do(task)
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
        """Whether the running episode's task is accomplished now, or play lasted as long as it is to; else None."""
        if self.episode is None:
            return None
        if self.episode.task == PLAY:
            return self.simulation.time > (self.episode.max_steps - 0.5) / RATE
        return TASKS[self.episode.task].accomplished(self.start, self.simulation.world())

    def for_people(self, size: int, portrait: bool = False) -> TabletopChainsRobot:
        """One in the pretty look."""
        return TabletopChainsRobot(size, self._variant, "pretty", portrait)

    def close(self) -> None:
        """Free the simulations and their renderers."""
        for simulation in self._simulations.values():
            simulation.close()
        self._simulations.clear()

    def _lay_out(self, options: Mapping[str, str | int | float | bool], seed: int) -> None:
        self.simulation  # noqa: B018  (says so if it is not connected)
        self._enter(str(options.get("variant", self._variant)), disturbances_from(str(options.get(OPTION, ""))))
        rng = np.random.default_rng(seed)
        layout = lay_out(symbols_from(options), self.simulation.variant, rng)
        self.simulation.reset(layout, self._joints_at(layout.hand), seed)
        self._aim(layout.hand, 1.0 if layout.held is None else -1.0)

    def _do(self, task: str) -> None:
        """Let the expert do ``task``, or give it up, without looking at the cameras."""
        from forehand_robots.tabletop_chains.experts import ChainExpert  # which is made for this robot

        start = self.simulation.world()
        expert = ChainExpert(self, task, start)
        for _ in range(PATIENCE):
            if TASKS[task].accomplished(start, self.simulation.world()):
                break
            self.act(expert.act())

    def _enter(self, variant: str, disturbances: tuple[str, ...]) -> None:
        place = variant, disturbances
        if place not in self._simulations:
            found = load_variant(variant)
            simulation = ChainSimulation(found, self._image_size, self._look, disturbances, self._portrait)
            self._simulations[place] = simulation
        self._variant, self._disturbances = place


def symbols_from(options: Mapping[str, str | int | float | bool]) -> Symbols:
    """The world in words that an episode's options describe; what they leave out is as by default."""
    told = {key: str(value) for key, value in options.items() if key in CHOICES}
    for key, value in told.items():
        if value not in CHOICES[key]:
            raise ConfigurationError(
                f"An episode cannot start with {key}={value!r}; {key} is {' or '.join(CHOICES[key])}."
            )
    symbols = Symbols(**told)
    if (
        len(symbols.at("held")) > 1
        or len(symbols.at("stacked")) > 1
        or (symbols.at("stacked") and not symbols.at("table"))
    ):
        raise ConfigurationError(
            f"An episode cannot start with {told}: one block at most is held, and one at most stands on one on the table."
        )
    return symbols
