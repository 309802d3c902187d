"""The running simulation: physics, cameras, and the arm's motion through one control step."""

from __future__ import annotations

from collections.abc import Mapping

import mujoco
import numpy as np
from dm_control import mjcf
from numpy.typing import NDArray

from forehand_robots.tabletop import panda
from forehand_robots.tabletop.blocks import BLOCK_SIZE, BLOCKS, Block
from forehand_robots.tabletop.cameras import Cameras
from forehand_robots.tabletop.kinematics import InverseKinematics, Vector
from forehand_robots.tabletop.scene import RATE, SUBSTEPS

CAMERAS = {"static": "static", "wrist": "panda/wrist"}


class Simulation:
    """Physics and cameras of one scene, driven by joint targets.

    ``image_size``: height and width of both cameras' images, in pixels. Raises
    :class:`~forehand_robots.tabletop.rendering.RenderingError` where nothing can draw.
    """

    def __init__(self, scene: mjcf.RootElement, image_size: int) -> None:
        self._model = mujoco.MjModel.from_xml_string(scene.to_xml_string(), scene.get_assets())
        self._data = mujoco.MjData(self._model)
        joints = [self._id("joint", f"panda/{name}") for name in panda.JOINTS]
        fingers = [self._id("joint", f"panda/{name}") for name in panda.FINGERS]
        self._arm_qpos = self._model.jnt_qposadr[joints]
        self._finger_qpos = self._model.jnt_qposadr[fingers]
        self._arm_ctrl = [self._id("actuator", f"panda/{name}") for name in panda.JOINTS]
        self._finger_ctrl = [self._id("actuator", f"panda/{name}") for name in panda.FINGERS]
        self._block_joints = {name: self._data.joint(name) for name in BLOCKS}
        self._touchers = self._bodies_that_touch()
        self._tool = self._id("site", "panda/tool")
        self.inverse_kinematics = InverseKinematics(self._model, self._tool, joints, np.array(panda.READY))
        self._cameras = Cameras(self._model, CAMERAS, image_size)

    def reset(self, joints: Vector, fingers: float, blocks: Mapping[str, Vector]) -> None:
        """Put the arm at ``joints`` (7,) rad, each finger at ``fingers`` m, each block at x, y (m) and yaw (rad)."""
        mujoco.mj_resetData(self._model, self._data)
        self._data.qpos[self._arm_qpos] = joints
        self._data.qpos[self._finger_qpos] = fingers
        for name, (x, y, yaw) in blocks.items():
            self.place_block(name, np.array([x, y, BLOCK_SIZE / 2]), yaw)
        self._data.ctrl[self._arm_ctrl] = joints
        self._data.ctrl[self._finger_ctrl] = fingers
        self._joint_target: Vector = joints.copy()
        self._lead: Vector = np.zeros(len(joints))
        mujoco.mj_forward(self._model, self._data)

    def place_block(self, name: str, position: Vector, yaw: float = 0.0) -> None:
        """Put one block's centre at ``position`` (3,) m, at rest."""
        joint = self._block_joints[name]
        joint.qpos[:] = (*position, np.cos(yaw / 2), 0, 0, np.sin(yaw / 2))
        joint.qvel[:] = 0
        mujoco.mj_forward(self._model, self._data)

    def step(self, joints: Vector, fingers: float) -> None:
        """One control step (1/15 s) towards joint targets (7,) rad and finger positions (m).

        The target moves evenly through the step, no further than the fastest-moving joint may. The servos are sent ahead
        of it by their own lag, which grows and shrinks evenly too: a jerk would shake blocks out of the fingers.
        """
        travel = joints - self._joint_target
        travel /= max(1.0, float(np.max(np.abs(travel) * RATE / panda.JOINT_SPEED)))
        before, after = self._lead, travel * RATE * panda.DAMPING / panda.STIFFNESS
        self._data.ctrl[self._finger_ctrl] = fingers
        for share in np.arange(1, SUBSTEPS + 1) / SUBSTEPS:
            lead = before + (after - before) * share
            self._data.ctrl[self._arm_ctrl] = self._joint_target + travel * share + lead
            mujoco.mj_step(self._model, self._data)
        self._lead = after
        self._joint_target += travel
        mujoco.mj_forward(self._model, self._data)  # poses and contacts as they are now, not one substep ago

    @property
    def time(self) -> float:
        """Seconds since the last reset."""
        return float(self._data.time)

    @property
    def joints(self) -> Vector:
        """Joint angles (7,) rad."""
        return self._data.qpos[self._arm_qpos].copy()

    @property
    def joint_target(self) -> Vector:
        """Where the servos have been sent, (7,) rad."""
        return self._joint_target.copy()

    @property
    def fingers(self) -> Vector:
        """Distance of each finger from the middle, (2,) m."""
        return self._data.qpos[self._finger_qpos].copy()

    @property
    def tool_position(self) -> Vector:
        """The point between the fingertips, (3,) m, base frame."""
        return self._data.site_xpos[self._tool].copy()

    @property
    def tool_rotation(self) -> Vector:
        """(3, 3), base frame; identity when the hand points straight down."""
        return self._data.site_xmat[self._tool].reshape(3, 3).copy()

    def blocks(self) -> dict[str, Block]:
        """Every block as it is now."""
        touching: dict[str, set[str]] = {name: set() for name in BLOCKS}
        for pair in self._data.contact.geom:
            first, second = (self._touchers.get(int(geom)) for geom in pair)
            if first and second and first != second:
                for one, other in ((first, second), (second, first)):
                    if one in touching:
                        touching[one].add(other)
        return {
            name: Block(joint.qpos[:3].copy(), float(np.linalg.norm(joint.qvel[:3])), frozenset(touching[name]))
            for name, joint in self._block_joints.items()
        }

    def render(self) -> dict[str, NDArray[np.uint8]]:
        """A fresh image (H, W, 3) from each camera."""
        return self._cameras.render(self._data)

    def close(self) -> None:
        """Free the renderer."""
        self._cameras.close()

    def _id(self, kind: str, name: str) -> int:
        return int(getattr(self._model, kind)(name).id)

    def _bodies_that_touch(self) -> dict[int, str]:
        owners = {self._id("body", name): name for name in BLOCKS}
        owners |= {self._id("body", f"panda/{name}"): name for name in panda.FINGERS}
        return {geom: owners[body] for geom, body in enumerate(self._model.geom_bodyid) if body in owners}
