"""Blocks simulation: the arm's, with the poses of the blocks."""

from __future__ import annotations

from collections.abc import Mapping

import mujoco
import numpy as np
from dm_control import mjcf

from forehand_tabletop.arm.arm_simulation import ArmSimulation
from forehand_tabletop.arm.kinematics import Vector
from forehand_tabletop.blocks.blocks import BLOCK_SIZE, BLOCKS, BlockState


class Simulation(ArmSimulation):
    """The arm and the three blocks."""

    def __init__(self, scene: mjcf.RootElement, image_size: int) -> None:
        super().__init__(scene, image_size, BLOCKS)
        self._block_joints = {name: self._data.joint(name) for name in BLOCKS}

    def reset(self, joints: Vector, fingers: float, blocks: Mapping[str, Vector]) -> None:
        """Put the arm at ``joints`` (7,) rad, each finger at ``fingers`` m, each block at x, y (m) and yaw (rad)."""
        self.reset_arm(joints, fingers)
        for name, (x, y, yaw) in blocks.items():
            self.place_block(name, np.array([x, y, BLOCK_SIZE / 2]), yaw)
        mujoco.mj_forward(self._model, self._data)

    def place_block(self, name: str, position: Vector, yaw: float = 0.0) -> None:
        """Put one block's centre at ``position`` (3,) m, at rest."""
        joint = self._block_joints[name]
        joint.qpos[:] = (*position, np.cos(yaw / 2), 0, 0, np.sin(yaw / 2))
        joint.qvel[:] = 0
        mujoco.mj_forward(self._model, self._data)

    def blocks(self) -> dict[str, BlockState]:
        """Every block as it is now."""
        touching = self.touching()
        return {
            name: BlockState(
                joint.qpos[:3].copy(), float(np.linalg.norm(joint.qvel[:3])), touching.get(name, frozenset())
            )
            for name, joint in self._block_joints.items()
        }
