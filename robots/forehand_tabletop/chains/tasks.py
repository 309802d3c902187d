"""Task definitions: preconditions, effects and success conditions.

Success depends on the world at the task's start and now; planning works on symbolic states. Left and right are those of
the static camera's image (right is +x, away from the robot's base); blocks are turned left or right as seen from above.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from forehand_tabletop.chains.dimensions import BLOCKS, DOOR_TRAVEL, DRAWER_TRAVEL, HALF, SLIDER_TRAVEL
from forehand_tabletop.chains.world import SymbolicState, World

MAX_STEPS = 360
MOVED = 0.8  # share of its travel that a drawer, door or slider has to be moved to
SWITCHED = 0.25  # rad, either way
LIFTED = 0.05  # m, from the table to the block's underside
PUSHED = 0.08  # m
TURNED = 0.7  # rad, 40 degrees


@dataclass(frozen=True)
class Task:
    """One task.

    possible: precondition on a symbolic state; after: the symbolic state once it is done; accomplished: success
    condition on the world at the task's start and the world now.
    """

    possible: Callable[[SymbolicState], bool]
    after: Callable[[SymbolicState], SymbolicState]
    accomplished: Callable[[World, World], bool]


def _fixture(name: str, before: str, after: str, done: Callable[[World], bool]) -> Task:
    return Task(
        possible=lambda s: getattr(s, name) == before and not s.at("held"),
        after=lambda s: s.but(**{name: after}),
        accomplished=lambda start, now: done(now) and not done(start),
    )


def _free_on_table(symbols: SymbolicState, block: str) -> bool:
    """Whether it is on the table with certainly nothing on it, and the hand is empty."""
    return getattr(symbols, block) == "table" and not symbols.at("stacked") and not symbols.at("held")


def _lift_from_table(block: str) -> Task:
    return Task(
        possible=lambda s: _free_on_table(s, block),
        after=lambda s: s.but(**{block: "held"}),
        accomplished=lambda start, now: start.on_table(block) and _lifted(now, block),
    )


def _lift_from_drawer(block: str) -> Task:
    return Task(
        possible=lambda s: getattr(s, block) == "drawer" and s.drawer == "open" and not s.at("held"),
        after=lambda s: s.but(**{block: "held"}),
        accomplished=lambda start, now: start.in_drawer(block) and _lifted(now, block),
    )


def _push(block: str, direction: int) -> Task:
    def accomplished(start: World, now: World) -> bool:
        way = now.blocks[block].position[0] - start.blocks[block].position[0]
        return start.on_table(block) and now.on_table(block) and bool(direction * way >= PUSHED)

    return Task(lambda s: _free_on_table(s, block), lambda s: s, accomplished)


def _rotate(block: str, direction: int) -> Task:
    def accomplished(start: World, now: World) -> bool:
        turn = np.angle(np.exp(1j * (now.blocks[block].yaw - start.blocks[block].yaw)))
        return start.on_table(block) and now.on_table(block) and bool(direction * turn >= TURNED)

    return Task(lambda s: _free_on_table(s, block), lambda s: s, accomplished)


def _put(place: str, possible: Callable[[SymbolicState], bool], arrived: Callable[[World, str], bool]) -> Task:
    """Put down the block that is held at the start, and release it."""
    return Task(
        possible=lambda s: bool(s.at("held")) and possible(s),
        after=lambda s: s.but(**dict.fromkeys(s.at("held"), place)),
        accomplished=lambda start, now: any(
            start.blocks[b].held and now.blocks[b].free and arrived(now, b) for b in BLOCKS
        ),
    )


def _unstacked(start: World, now: World) -> bool:
    return any(start.below(b) is not None and now.on_table(b) and now.blocks[b].free for b in BLOCKS)


def _lifted(world: World, block: str) -> bool:
    return world.blocks[block].held and bool(world.blocks[block].position[2] - HALF >= LIFTED)


TASKS: Mapping[str, Task] = {
    "open_drawer": _fixture("drawer", "closed", "open", lambda w: w.drawer >= MOVED * DRAWER_TRAVEL),
    "close_drawer": _fixture("drawer", "open", "closed", lambda w: w.drawer <= (1 - MOVED) * DRAWER_TRAVEL),
    "move_door_left": _fixture("door", "right", "left", lambda w: w.door <= (1 - MOVED) * DOOR_TRAVEL),
    "move_door_right": _fixture("door", "left", "right", lambda w: w.door >= MOVED * DOOR_TRAVEL),
    "move_slider_left": _fixture("slider", "right", "left", lambda w: w.slider <= (1 - MOVED) * SLIDER_TRAVEL),
    "move_slider_right": _fixture("slider", "left", "right", lambda w: w.slider >= MOVED * SLIDER_TRAVEL),
    "turn_on_bulb": _fixture("bulb", "off", "on", lambda w: w.switch >= SWITCHED),
    "turn_off_bulb": _fixture("bulb", "on", "off", lambda w: w.switch <= -SWITCHED),
    "turn_on_light": _fixture("light", "off", "on", lambda w: w.light),
    "turn_off_light": _fixture("light", "on", "off", lambda w: not w.light),
    **{f"lift_{b}_table": _lift_from_table(b) for b in BLOCKS},
    **{f"lift_{b}_drawer": _lift_from_drawer(b) for b in BLOCKS},
    "place_in_drawer": _put("drawer", lambda s: s.drawer == "open", lambda w, b: w.in_drawer(b)),
    "place_on_table": _put("table", lambda s: True, lambda w, b: w.on_table(b)),
    "stack_blocks": _put(
        "stacked", lambda s: bool(s.at("table")) and not s.at("stacked"), lambda w, b: w.below(b) is not None
    ),
    "unstack_blocks": Task(
        possible=lambda s: bool(s.at("stacked")) and not s.at("held"),
        after=lambda s: s.but(**dict.fromkeys(s.at("stacked"), "table")),
        accomplished=_unstacked,
    ),
    **{f"push_{b}_{side}": _push(b, way) for b in BLOCKS for side, way in (("left", -1), ("right", 1))},
    **{f"rotate_{b}_{side}": _rotate(b, way) for b in BLOCKS for side, way in (("left", 1), ("right", -1))},
}
