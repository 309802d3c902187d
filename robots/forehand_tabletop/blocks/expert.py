"""Scripted experts: reactive controllers on the simulator's present state.

Actions depend on the present state alone, without timers or stages, and vary smoothly with it: a policy with small errors
of perception still acts alike, and a block that slips or an arm that is pushed aside is approached again.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from forehand import Episode, Expert
from forehand.contracts.rotations import to_euler
from forehand_tabletop.arm.kinematics import Vector
from forehand_tabletop.arm.scripted_hand import CLOSED, GAIN, OPEN, smooth_step, step_towards, way_from_above
from forehand_tabletop.blocks.blocks import BLOCK_SIZE, BlockState
from forehand_tabletop.blocks.robot import TabletopRobot
from forehand_tabletop.blocks.tasks import FINGERS

SPEED = 0.03  # m for each control step, at most

HOVER = 0.08  # m, above the working height: fingers pass over blocks
FUNNEL_TIP, FUNNEL_WIDTH = 0.012, 0.05  # m: all the way down within the first, at hover beyond both

GRASP_DEPTH = 0.002  # m, of the fingertips' middle below the block's centre
GRASP_REACH = 0.015  # m, horizontally and vertically, within which the fingers close
LIFTED = 0.13  # m, height of the hand
CARRIED = 0.055  # m, above the place of rest
PLACED = 0.012  # m, from the place of rest, where the fingers open
RESTING = 0.02  # m, horizontally, within which a block on another one is left alone
LEAVING = 0.16  # m, height of the hand after stacking

PUSH_SPEED = 0.02  # m for each control step
PUSH_START = 0.06  # m, behind the block's centre
PUSH_LANE = 0.02  # m, sideways and above, within which pushing continues


class TabletopExpert(Expert):
    """Solves ``episode`` on ``robot``, which has been reset to it; once it is solved, keeps the pose reached."""

    def __init__(self, robot: TabletopRobot, episode: Episode) -> None:
        self._robot = robot
        self._block = str(episode.options["block"])
        self._onto = str(episode.options.get("onto", ""))
        controllers: dict[str, Callable[[dict[str, BlockState]], NDArray[np.float32]]]
        controllers = {"push": self._push, "lift": self._lift, "stack": self._stack}
        self._controller = controllers[episode.task]

    def act(self) -> NDArray[np.float32]:
        """The next action (7,)."""
        return self._controller(self._robot.simulation.blocks())

    def _push(self, blocks: dict[str, BlockState]) -> NDArray[np.float32]:
        block, hand = blocks[self._block].position, self._hand
        ahead, aside, above = block - hand
        if 0.02 < ahead < 0.1 and abs(aside) < PUSH_LANE and -above < PUSH_LANE:
            further = np.array([hand[0] + PUSH_SPEED / GAIN, block[1], block[2]])
            return self._towards(further, CLOSED, PUSH_SPEED)
        return self._down_to(block - (PUSH_START, 0, 0), CLOSED)

    def _lift(self, blocks: dict[str, BlockState]) -> NDArray[np.float32]:
        block = blocks[self._block]
        if _held(block):
            return self._towards(np.array([*block.position[:2], LIFTED]), CLOSED)
        return self._grasp(block.position)

    def _stack(self, blocks: dict[str, BlockState]) -> NDArray[np.float32]:
        block, rest = blocks[self._block], blocks[self._onto].position + np.array([0, 0, BLOCK_SIZE])
        aside, above = np.linalg.norm((block.position - rest)[:2]), block.position[2] - rest[2]
        if aside < RESTING and abs(above) < PLACED:
            if not block.touching & FINGERS:
                return self._towards(np.array([*block.position[:2], LEAVING]), OPEN)
            if aside < PLACED or not _held(block):
                return self._towards(self._robot.target[0], OPEN)
        if _held(block):
            return self._through_funnel(block.position, rest, CARRIED, CLOSED)
        return self._grasp(block.position)

    @property
    def _hand(self) -> Vector:
        return self._robot.simulation.tool_position

    def _grasp(self, block: Vector) -> NDArray[np.float32]:
        goal = block - (0, 0, GRASP_DEPTH)
        away = self._hand - goal
        near = np.linalg.norm(away[:2]) < GRASP_REACH and away[2] < GRASP_REACH
        return self._down_to(goal, CLOSED if near else OPEN)

    def _down_to(self, goal: Vector, gripper: float) -> NDArray[np.float32]:
        return self._through_funnel(self._hand, goal, HOVER, gripper)

    def _through_funnel(self, point: Vector, goal: Vector, hover: float, gripper: float) -> NDArray[np.float32]:
        """Move ``point``, which the hand carries, to ``goal`` from above: first over it, then down."""
        beside = float(np.linalg.norm((goal - point)[:2]))
        way, _ = way_from_above(point, goal, hover * smooth_step((beside - FUNNEL_TIP) / FUNNEL_WIDTH))
        return self._towards(self._robot.target[0] + way, gripper)

    def _towards(self, position: Vector, gripper: float, speed: float = SPEED) -> NDArray[np.float32]:
        """The action that moves the target pose to ``position`` and upright, as far as one step allows."""
        target_position, target_rotation = self._robot.target
        return step_towards(position - target_position, -to_euler(target_rotation), gripper, speed)


def _held(block: BlockState) -> bool:
    return block.touching >= FINGERS
