"""World state of the environment at one moment, numeric and symbolic."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace

import numpy as np
from numpy.typing import NDArray

from forehand_tabletop.chains.dimensions import (
    BLOCK_HEIGHT,
    BLOCKS,
    DOOR_TRAVEL,
    DRAWER_TRAVEL,
    DRAWER_WIDTH,
    HALF,
    SLIDER_TRAVEL,
)

FINGERS = frozenset({"left_finger", "right_finger"})
LEVEL = 0.007  # m, in height, between a block that lies somewhere and one that does not
OVERLAP = 0.025  # m, horizontally, between the centres of two blocks that are stacked
AT_REST = 0.03  # m/s


@dataclass(frozen=True)
class BlockState:
    """One block at one moment: centre (3,) m in the base frame, yaw (rad), speed (m/s), blocks and fingers in contact.

    held: it is between the fingers, and both touch it; a fist that pushes it does not hold it.
    """

    position: NDArray[np.float64]
    yaw: float
    speed: float
    touching: frozenset[str]
    held: bool

    @property
    def free(self) -> bool:
        """No finger touches it, and it lies still."""
        return not self.touching & FINGERS and self.speed < AT_REST


@dataclass(frozen=True)
class World:
    """Numeric state that the tasks' success conditions depend on.

    drawer, door, slider: m from their first end; switch: rad, positive is on; light: whether it shines; inside: the
    middle of the drawer's floor (3,) m; blocks: by name.
    """

    drawer: float
    door: float
    slider: float
    switch: float
    light: bool
    inside: NDArray[np.float64]
    blocks: Mapping[str, BlockState]

    def in_drawer(self, name: str) -> bool:
        """Whether the block lies in the drawer, wherever that is."""
        x, y, z = self.blocks[name].position - self.inside
        return bool(abs(x) < DRAWER_WIDTH / 2 and abs(y) < 0.07 and abs(z - HALF) < 2 * LEVEL)

    def on_table(self, name: str) -> bool:
        """Whether the block lies on the table, and not in the drawer."""
        return bool(abs(self.blocks[name].position[2] - HALF) < LEVEL) and not self.in_drawer(name)

    def below(self, name: str) -> str | None:
        """The block that this one stands on, if any."""
        for other in BLOCKS:
            x, y, z = self.blocks[name].position - self.blocks[other].position
            if other != name and np.hypot(x, y) < OVERLAP and abs(z - BLOCK_HEIGHT) < LEVEL:
                return other
        return None


@dataclass(frozen=True)
class SymbolicState:
    """Symbolic state. A block's place is ``table``, ``drawer``, ``stacked`` or ``held``.

    ``stacked`` leaves open on which block.
    """

    drawer: str = "closed"
    door: str = "left"
    slider: str = "left"
    bulb: str = "off"
    light: str = "off"
    red: str = "table"
    green: str = "table"
    blue: str = "table"

    def at(self, place: str) -> tuple[str, ...]:
        """The blocks at this place."""
        return tuple(name for name in BLOCKS if getattr(self, name) == place)

    def but(self, **changes: str) -> SymbolicState:
        """A copy with these values changed."""
        return replace(self, **changes)

    def to_dict(self) -> dict[str, str]:
        """The values by name, for instance as options of an episode."""
        return asdict(self)


CHOICES: Mapping[str, tuple[str, ...]] = {
    "drawer": ("closed", "open"),
    "door": ("left", "right"),
    "slider": ("left", "right"),
    "bulb": ("off", "on"),
    "light": ("off", "on"),
    **dict.fromkeys(BLOCKS, ("table", "drawer", "stacked", "held")),
}
assert list(CHOICES) == [f.name for f in fields(SymbolicState)]


def symbolic_state(world: World) -> SymbolicState:
    """The symbolic state of a world; a block in none of the named places counts as on the table."""

    def place(name: str) -> str:
        if world.in_drawer(name):
            return "drawer"
        if world.below(name) is not None:
            return "stacked"
        return "held" if world.blocks[name].held and not world.on_table(name) else "table"

    return SymbolicState(
        drawer="open" if world.drawer > DRAWER_TRAVEL / 2 else "closed",
        door="right" if world.door > DOOR_TRAVEL / 2 else "left",
        slider="right" if world.slider > SLIDER_TRAVEL / 2 else "left",
        bulb="on" if world.switch > 0 else "off",
        light="on" if world.light else "off",
        **{name: place(name) for name in BLOCKS},
    )
