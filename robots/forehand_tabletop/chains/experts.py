"""Scripted experts for every task, on the simulator's present state."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from forehand import Expert
from forehand_tabletop.arm.kinematics import Vector
from forehand_tabletop.arm.scripted_hand import CLOSED, OPEN, Action
from forehand_tabletop.chains.dimensions import BLOCK_HEIGHT, BLOCKS, BUTTON_TOP, DRAWER_TRAVEL, HALF
from forehand_tabletop.chains.layout import REGION_HIGH, REGION_LOW, SPOTS
from forehand_tabletop.chains.skills import (
    EMPTY,
    FAR_TURN,
    FIST,
    PUSH_SPEED,
    SNUG,
    SPEED,
    TRANSIT,
    ChainArm,
    Hand,
    grasp_yaw,
    squared,
)
from forehand_tabletop.chains.styles import DIRECT
from forehand_tabletop.chains.tasks import TASKS
from forehand_tabletop.chains.variants import Fixtures
from forehand_tabletop.chains.world import FINGERS, World

X, Y, Z = np.eye(3)
LIFTED = 0.15  # m, height of the hand
SET_DOWN = 0.010  # m, from its place, where a block is let go
ROOM = 0.10  # m, between a block that is put down and whatever else is there
TURN = 0.85  # rad, that a block is turned by
LOWEST = 0.0135  # m, height of the hand, where it meets the table
AJAR = 0.9 * DRAWER_TRAVEL  # m, below which the drawer is opened first
FIRM = 0.03  # m, that a block is lifted slowly for, until the fingers have it for sure
GRIPPED = 0.012  # m, gap of fingers that hold the drawer's handle


class ChainExpert(Expert):
    """Scripted expert for ``task`` on ``robot``; ``start`` is the world when the task began.

    ``style``: how the hand approaches (:mod:`forehand_tabletop.chains.styles`).
    """

    def __init__(self, robot: ChainArm, task: str, start: World, style: str = DIRECT) -> None:
        self._robot, self._hand = robot, Hand(robot, style)
        self._start = start
        words = task.split("_")
        ways: Mapping[str, Callable[[World], Action]] = {
            "open_drawer": self._open_drawer,
            "close_drawer": lambda w: self._push_fixture("drawer", Y),
            "move_door_left": lambda w: self._push_fixture("door", -X),
            "move_door_right": lambda w: self._push_fixture("door", X),
            "move_slider_left": lambda w: self._push_fixture("slider", -X),
            "move_slider_right": lambda w: self._push_fixture("slider", X),
            "turn_on_bulb": lambda w: self._push_fixture("switch", Y),
            "turn_off_bulb": lambda w: self._push_fixture("switch", -Y),
            "turn_on_light": lambda w: self._press(w.light),
            "turn_off_light": lambda w: self._press(not w.light),
            "place_in_drawer": self._put_in_drawer,
            "place_on_table": lambda w: self._put(w, self._held_at_start(), self._table_spot),
            "stack_blocks": lambda w: self._put(w, self._held_at_start(), self._top_spot),
            "unstack_blocks": lambda w: self._put(w, self._stacked_at_start(), self._table_spot),
        }
        match words:
            case ["lift", block, _]:
                self._way: Callable[[World], Action] = lambda w: self._lift(w, block)
            case ["push", block, side]:
                self._way = lambda w: self._push(w, block, X if side == "right" else -X)
            case ["rotate", block, side]:
                self._way = lambda w: self._rotate(w, block, 1 if side == "left" else -1)
            case _:
                self._way = ways[task]
        carried = {"place", "stack", "unstack"}
        self._own = set(words[1:2]) & set(BLOCKS) or (set(BLOCKS) if words[0] in carried else set())

    @property
    def phase(self) -> str:
        """The present phase of the motion, in a word."""
        return self._hand.phase

    def act(self) -> Action:
        """The next action (7,)."""
        world = self._robot.simulation.world()
        for name in BLOCKS:
            if world.blocks[name].held and name not in self._own:
                return self._put(world, name, self._table_spot)  # left over from before: the hand has to be empty
            if world.blocks[name].touching & FINGERS and name not in self._own and self._hand.gap > EMPTY:
                self._hand.phase = "let go"
                return self._hand.stay(OPEN)
        return self._way(world)

    def _open_drawer(self, world: World) -> Action:
        handle, hand = self._robot.simulation.site("drawer"), self._hand
        if np.linalg.norm(hand.at - handle) < 0.02 and hand.gap < GRIPPED:
            hand.phase = "pull"
            return hand.move(handle - Y * PUSH_SPEED / 0.5, CLOSED, 0.0, PUSH_SPEED)
        return hand.grasp(handle)

    def _push_fixture(self, name: str, way: Vector) -> Action:
        return self._hand.push(self._robot.simulation.site(name), way)

    def _press(self, done: bool) -> Action:
        button, hand = self._robot.simulation.site("button"), self._hand
        if done or not self._robot.simulation.armed:
            return hand.rise(CLOSED)
        hand.phase = "press"
        near = np.linalg.norm((button - hand.at)[:2]) < 0.05
        goal = np.array([*button[:2], BUTTON_TOP - 0.014])
        return hand.reach(goal, CLOSED if near or hand.at[2] > TRANSIT - 0.04 else OPEN)

    def _lift(self, world: World, name: str) -> Action:
        if world.blocks[name].held:
            self._hand.phase = "lift"
            low = world.blocks[name].position[2] < HALF + FIRM
            goal = np.array([*self._hand.at[:2], LIFTED])
            return self._hand.move(goal, CLOSED, self._hand.yaw, PUSH_SPEED if low else SPEED)
        if self._start.in_drawer(name) and world.drawer < AJAR:
            return self._open_drawer(world)
        return self._grasp(world, name)

    def _push(self, world: World, name: str, way: Vector) -> Action:
        block, hand = world.blocks[name], self._hand
        behind = block.position - FIST * way
        crowded = not REGION_LOW[0] - 0.13 < behind[0] < REGION_HIGH[0] + 0.11 or any(
            np.linalg.norm((world.blocks[other].position - behind)[:2]) < 0.042 for other in BLOCKS if other != name
        )
        if block.held:  # no room for the fist behind it, so it is taken along
            hand.phase = "drag"
            goal = block.position + way * PUSH_SPEED / 0.5
            goal[2] = HALF + 0.002
            return hand.move(hand.at + goal - block.position, CLOSED, hand.yaw, PUSH_SPEED)
        if crowded:
            return self._grasp(world, name)
        return hand.push(block.position, way)

    def _rotate(self, world: World, name: str, direction: int) -> Action:
        block, hand = world.blocks[name], self._hand
        turned = float(np.angle(np.exp(1j * (block.yaw - self._start.blocks[name].yaw))))
        left = TURN - direction * turned
        if block.held and (abs(hand.yaw + direction * left) < FAR_TURN + 0.04 or left <= 0):
            hand.phase = "turn"
            at = hand.at + Z * (HALF - block.position[2])
            return hand.move(at, CLOSED, hand.yaw + direction * max(left, 0.0), PUSH_SPEED)
        if block.held:
            return hand.stay(OPEN)
        low, high = (-FAR_TURN, FAR_TURN - left) if direction > 0 else (left - FAR_TURN, FAR_TURN)
        return self._grasp(world, name, low, high)

    def _put_in_drawer(self, world: World) -> Action:
        name = self._held_at_start()
        if world.drawer > AJAR or world.in_drawer(name):
            return self._put(world, name, self._drawer_spot)
        if world.blocks[name].touching & FINGERS:  # something shut the drawer, and a hand is needed to open it
            return self._put(world, name, self._table_spot)
        return self._open_drawer(world)

    def _put(self, world: World, name: str, spot: Callable[[World, str], tuple[Vector, float]]) -> Action:
        """Carry a block to a spot, a centre (3,) m and a yaw (rad), and let it go there."""
        block, hand = world.blocks[name], self._hand
        goal, wanted = spot(world, name)
        away = block.position - goal
        there = np.linalg.norm(away[:2]) < SET_DOWN and away[2] < SET_DOWN
        there = there or hand.at[2] < LOWEST  # it slipped upwards: further down it does not go
        if there or (np.linalg.norm(away[:2]) < 2 * SET_DOWN and abs(away[2]) < 0.004 and not block.held):
            opening = SNUG if world.in_drawer(name) else OPEN
            if block.free:
                return hand.rise(opening)
            hand.phase = "let go"
            return hand.stay(opening)
        if block.held:
            hand.phase = "carry"
            return hand.bring(block.position, goal, CLOSED, squared(hand, block.yaw, wanted))
        return self._grasp(world, name)

    def _grasp(self, world: World, name: str, low: float = -FAR_TURN, high: float = FAR_TURN) -> Action:
        higher = 0.005 if world.in_drawer(name) else -0.002  # over the drawer the palm needs more room
        goal = world.blocks[name].position + Z * higher
        opening = SNUG if world.in_drawer(name) else OPEN
        return self._hand.grasp(goal, grasp_yaw(self._hand, world, name, low, high), opening)

    def _drawer_spot(self, world: World, name: str) -> tuple[Vector, float]:
        others = [world.blocks[b].position for b in BLOCKS if b != name and world.in_drawer(b)]
        spots = [world.inside + X * x + Z * HALF for x in SPOTS]
        here = world.blocks[name].position

        def worth(spot: Vector) -> tuple[float, float]:
            room = min((float(np.linalg.norm((spot - other)[:2])) for other in others), default=1.0)
            return min(room, 0.05), -float(np.linalg.norm(spot - here))

        return max(spots, key=worth), 0.0

    def _table_spot(self, world: World, name: str) -> tuple[Vector, float]:
        here = world.blocks[name].position
        others = [world.blocks[b].position[:2] for b in BLOCKS if b != name and world.on_table(b)]
        others += [np.array(p) for p in (self._fixtures.button, self._fixtures.switch)]
        grid = [np.array([x, y, HALF]) for x in _steps(0) for y in _steps(1)]
        near = np.array([*np.clip(here[:2], REGION_LOW, REGION_HIGH), HALF])

        def cost(spot: Vector) -> float:
            room = min(float(np.linalg.norm(spot[:2] - other)) for other in others)
            return 10 * max(0.0, ROOM - room) + float(np.linalg.norm((spot - here)[:2]))

        return min([near, *grid], key=cost), world.blocks[name].yaw

    def _top_spot(self, world: World, name: str) -> tuple[Vector, float]:
        others = [b for b in BLOCKS if b != name]
        lying = [b for b in others if world.on_table(b) and all(world.below(other) != b for other in others)]
        here = world.blocks[name].position
        below = min(lying or others, key=lambda b: _apart(world.blocks[b].position, here))
        return world.blocks[below].position + Z * BLOCK_HEIGHT, world.blocks[below].yaw

    def _held_at_start(self) -> str:
        blocks = self._start.blocks
        return next((b for b in BLOCKS if blocks[b].held), BLOCKS[0])

    def _stacked_at_start(self) -> str:
        return next((b for b in BLOCKS if self._start.below(b) is not None), BLOCKS[0])

    @property
    def _fixtures(self) -> Fixtures:
        return self._robot.simulation.variant.fixtures


class PairExpert(Expert):
    """Scripted expert for ``tasks`` in their order, and again for what comes undone; else as :class:`ChainExpert`."""

    def __init__(self, robot: ChainArm, tasks: Sequence[str], start: World, style: str = DIRECT) -> None:
        self._robot, self._tasks, self._start, self._style = robot, tuple(tasks), start, style
        self._choose(self._tasks[0])

    @property
    def phase(self) -> str:
        """The present phase of the motion, in a word."""
        return self._expert.phase

    def act(self) -> Action:
        """The next action (7,)."""
        world = self._robot.simulation.world()
        left = [task for task in self._tasks if not TASKS[task].accomplished(self._start, world)]
        if left and left[0] != self._task:
            self._choose(left[0])
        return self._expert.act()

    def _choose(self, task: str) -> None:
        self._task, self._expert = task, ChainExpert(self._robot, task, self._start, self._style)


def _steps(axis: int) -> Vector:
    return np.asarray(np.linspace(REGION_LOW[axis], REGION_HIGH[axis], 7), dtype=np.float64)


def _apart(one: Vector, other: Vector) -> float:
    return float(np.linalg.norm((one - other)[:2]))
