"""Expert skills: reach, grasp, carry and push, recomputed from the present state at each step.

They keep no state from step to step, so that a block that slips, a hand that is pushed aside or a drawer that springs
back is approached again.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np

from forehand.contracts.rotations import from_euler, to_euler
from forehand_tabletop.arm.kinematics import Vector
from forehand_tabletop.arm.scripted_hand import CLOSED, GAIN, OPEN, Action, smooth_step, step_towards, way_from_above
from forehand_tabletop.chains.dimensions import BLOCKS
from forehand_tabletop.chains.simulation import ChainSimulation
from forehand_tabletop.chains.styles import DIRECT, STYLES
from forehand_tabletop.chains.world import World

SPEED, PUSH_SPEED = 0.035, 0.02  # m for each control step, at most
SNUG = 0.6  # of a gripper between the walls of the drawer
LEVER = 0.08  # m of way that one radian of turning counts as

TRANSIT = 0.14  # m, height of what passes over everything else
FUNNEL_TIP, FUNNEL_WIDTH = 0.010, 0.045  # m: all the way down within the first, in transit beyond both

EMPTY = 0.004  # m, gap of fingers that hold nothing
GRASP_REACH = 0.012  # m, within which the fingers close
FIST = 0.05  # m, from what it is going to push
LANE = 0.016  # m, sideways and in height, within which a push continues
FAR_TURN = 1.25  # rad, of the hand
FINGER_AT = 0.046  # m, of an open finger's middle from the hand's
PALM = (0.11, 0.045)  # m, along the fingers' way and across, that is kept clear of posts
QUARTER = np.pi / 2
STRAIGHT, BENT = 0.04, 0.10  # m of way left: straight within the first, turned by all of the style's turn beyond both


class ChainArm(Protocol):
    """The part of a robot that skills use: its simulation, and the target pose that actions move."""

    @property
    def simulation(self) -> ChainSimulation:
        """The running simulation."""

    @property
    def target(self) -> tuple[Vector, Vector]:
        """Position (3,) m and rotation (3, 3) of the target pose, base frame."""


class Hand:
    """The hand of ``robot``: each skill returns the next action (7,) and sets ``phase`` to its name.

    ``style``: how it approaches (:mod:`forehand_tabletop.chains.styles`).
    """

    def __init__(self, robot: ChainArm, style: str = DIRECT) -> None:
        self._robot, self._turn = robot, STYLES[style]
        self.phase = "start"

    @property
    def at(self) -> Vector:
        """The point between the fingertips, (3,) m."""
        return self._robot.simulation.tool_position

    @property
    def yaw(self) -> float:
        """The target rotation of the hand about the vertical, rad."""
        return float(to_euler(self._robot.target[1])[2])

    @property
    def gap(self) -> float:
        """Distance of each finger from the middle, m."""
        return float(self._robot.simulation.fingers.mean())

    @property
    def posts(self) -> list[Vector]:
        """Positions of the fixtures that stand upright on the table, (3,) m each."""
        return [self._robot.simulation.site(name) for name in ("slider", "switch")]

    def move(self, position: Vector, gripper: float, yaw: float = 0.0, speed: float = SPEED) -> Action:
        """Move the target pose towards ``position``, upright and turned by ``yaw``, as far as one step allows."""
        target, rotation = self._robot.target
        turn = to_euler(from_euler((0, 0, yaw)) @ rotation.T)
        return step_towards(position - target, turn, gripper, speed)

    def rise(self, gripper: float) -> Action:
        """Straight up, out of the way."""
        self.phase = "leave"
        return self.move(np.array([*self._robot.target[0][:2], TRANSIT]), gripper, self.yaw)

    def stay(self, gripper: float) -> Action:
        """Keep the target pose."""
        return self.move(self._robot.target[0], gripper, self.yaw)

    def bring(self, point: Vector, goal: Vector, gripper: float, yaw: float = 0.0) -> Action:
        """Bring ``point``, which moves with the hand, to ``goal`` from above: first over it and turned, then down."""
        far = float(np.linalg.norm((goal - point)[:2])) + LEVER * abs(yaw - self.yaw)
        hover = max(TRANSIT - goal[2], 0.03)
        way, sideways = way_from_above(point, goal, hover * smooth_step((far - FUNNEL_TIP) / FUNNEL_WIDTH))
        turned = self.yaw + sideways * (yaw - self.yaw)
        way[:2] = bent(way[:2], self._turn)
        return self.move(self._robot.target[0] + way, gripper, turned)

    def reach(self, goal: Vector, gripper: float, yaw: float = 0.0) -> Action:
        """Bring the point between the fingertips to ``goal`` from above."""
        return self.bring(self.at, goal, gripper, yaw)

    @property
    def fist(self) -> bool:
        """Whether the hand is low and closed on nothing: it rises as it is, and opens only once it is up."""
        return self.gap < EMPTY and self.at[2] < TRANSIT - 0.06

    def grasp(self, goal: Vector, yaw: float = 0.0, opening: float = OPEN) -> Action:
        """Grasp the object at ``goal`` (3,) m."""
        away = self.at - goal
        near = np.linalg.norm(away[:2]) < GRASP_REACH and abs(away[2]) < GRASP_REACH and abs(self.yaw - yaw) < 0.15
        self.phase = "grasp" if near else "approach"
        return self.reach(goal, CLOSED if near or (self.fist and np.linalg.norm(away[:2]) > 0.05) else opening, yaw)

    def push(self, what: Vector, way: Vector) -> Action:
        """Push the object at ``what`` (3,) m along ``way`` (3,), a unit vector, with the fist."""
        behind = what - self.at
        ahead = float(behind @ way)
        aside = float(np.linalg.norm(behind - ahead * way))
        if aside < LANE and 0 < ahead < FIST + 0.02:
            self.phase = "push"
            return self.move(what + way * (PUSH_SPEED / GAIN - ahead), CLOSED, 0.0, PUSH_SPEED)
        self.phase = "approach"
        goal = what - FIST * way
        near = np.linalg.norm((goal - self.at)[:2]) < 0.05
        return self.reach(goal, CLOSED if near or self.fist or self.at[2] > TRANSIT - 0.04 else OPEN)


def grasp_yaw(hand: Hand, world: World, name: str, low: float = -FAR_TURN, high: float = FAR_TURN) -> float:
    """Yaw of the hand (rad) for this block: faces between the fingers, away from neighbours, from ``low`` to ``high``."""
    block = world.blocks[name]
    near = round((hand.yaw - block.yaw) / QUARTER)
    turns = [block.yaw + (near + k) * QUARTER for k in (-2, -1, 0, 1, 2)]

    def cost(yaw: float) -> float:
        finger = FINGER_AT * np.array([-np.sin(yaw), np.cos(yaw)])
        tips = (block.position[:2] + finger, block.position[:2] - finger)
        others = [world.blocks[other].position for other in BLOCKS if other != name]
        gaps = [np.linalg.norm(tip - p[:2]) for tip in tips for p in others if abs(p[2] - block.position[2]) < 0.03]
        crowded = sum(max(0.0, 0.042 - float(gap)) * 100 for gap in gaps)
        if world.in_drawer(name):
            crowded += sum(max(0.0, abs(float(tip[1] - world.inside[1])) - 0.055) * 100 for tip in tips)
        for post in hand.posts:
            way = post[:2] - block.position[:2]
            along, across = (
                abs(float(way @ finger)) / FINGER_AT,
                abs(float(way[0] * finger[1] - way[1] * finger[0])) / FINGER_AT,
            )
            crowded += 5.0 * (along < PALM[0] and across < PALM[1])
        return crowded + abs(yaw - hand.yaw) + 10 * max(0.0, low - yaw, yaw - high)

    return float(np.clip(min(turns, key=cost), -FAR_TURN, FAR_TURN))


def bent(way: Vector, turn: float) -> Vector:
    """A ``way`` (2,) m sideways, turned by ``turn`` (rad) as far as it is long: its end stays where it is."""
    angle = turn * smooth_step((float(np.linalg.norm(way)) - STRAIGHT) / (BENT - STRAIGHT))
    along, across = np.cos(angle), np.sin(angle)
    return np.array([along * way[0] - across * way[1], across * way[0] + along * way[1]])


def squared(hand: Hand, yaw: float, wanted: float) -> float:
    """Yaw of the hand (rad) that brings an object in it from ``yaw`` parallel to ``wanted``, by the smallest turn."""
    off = (wanted - yaw + QUARTER / 2) % QUARTER - QUARTER / 2
    turned = hand.yaw + off
    return turned - QUARTER * round(turned / QUARTER) if abs(turned) > FAR_TURN else turned
