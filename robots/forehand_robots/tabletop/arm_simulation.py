"""The arm in a running simulation: physics, cameras, and the arm's motion through one control step."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import mujoco
import numpy as np
from dm_control import mjcf
from numpy.typing import NDArray

from forehand_robots.tabletop import panda
from forehand_robots.tabletop.cameras import Cameras
from forehand_robots.tabletop.kinematics import InverseKinematics, Vector
from forehand_robots.tabletop.scene import RATE

CAMERAS = {"static": "static", "wrist": "panda/wrist"}


class ArmSimulation:
    """Physics and cameras of one scene with the arm, driven by joint targets.

    ``image_size``: height and width of both cameras' images, in pixels; ``bodies``: those of the scene's bodies whose
    contacts with each other and with the fingers :meth:`touching` tells; ``cameras``: the scene's, by our names. Raises
    :class:`~forehand_robots.tabletop.rendering.RenderingError` where nothing can draw.
    """

    def __init__(
        self, scene: mjcf.RootElement, image_size: int, bodies: Iterable[str], cameras: Mapping[str, str] = CAMERAS
    ) -> None:
        self._model = mujoco.MjModel.from_xml_string(scene.to_xml_string(), scene.get_assets())
        self._data = mujoco.MjData(self._model)
        substeps = round(1 / RATE / self._model.opt.timestep)
        self._shares = np.arange(1, substeps + 1)[:, None] / substeps  # of a control step, at the end of each substep
        joints = [self._id("joint", f"panda/{name}") for name in panda.JOINTS]
        fingers = [self._id("joint", f"panda/{name}") for name in panda.FINGERS]
        self._arm_qpos = self._model.jnt_qposadr[joints]
        self._finger_qpos = self._model.jnt_qposadr[fingers]
        self._arm_ctrl = np.array([self._id("actuator", f"panda/{name}") for name in panda.JOINTS])
        self._finger_ctrl = np.array([self._id("actuator", f"panda/{name}") for name in panda.FINGERS])
        owners = {self._id("body", name): name for name in bodies}
        owners |= {self._id("body", f"panda/{name}"): name for name in panda.FINGERS}
        self._touchers = {geom: owners[body] for geom, body in enumerate(self._model.geom_bodyid) if body in owners}
        self._tool = self._id("site", "panda/tool")
        self.inverse_kinematics = InverseKinematics(self._model, self._tool, joints, np.array(panda.READY))
        self._cameras = Cameras(self._model, cameras, image_size)

    def reset_arm(self, joints: Vector, fingers: float) -> None:
        """Forget all that moved, and put the arm at ``joints`` (7,) rad and each finger at ``fingers`` m."""
        mujoco.mj_resetData(self._model, self._data)
        self._data.qpos[self._arm_qpos] = joints
        self._data.qpos[self._finger_qpos] = fingers
        self._data.ctrl[self._arm_ctrl] = joints
        self._data.ctrl[self._finger_ctrl] = fingers
        self._joint_target: Vector = joints.copy()
        self._lead: Vector = np.zeros(len(joints))

    def step(self, joints: Vector, fingers: float) -> None:
        """One control step (1/15 s) towards joint targets (7,) rad and finger positions (m).

        The target moves evenly through the step, no further than the fastest-moving joint may. The servos are sent ahead
        of it by their own lag, which grows and shrinks evenly too: a jerk would shake blocks out of the fingers.
        """
        travel = joints - self._joint_target
        travel /= max(1.0, float(np.max(np.abs(travel) * RATE / panda.JOINT_SPEED)))
        before, after = self._lead, travel * RATE * panda.DAMPING / panda.STIFFNESS
        leads = before + (after - before) * self._shares
        ctrl = self._data.ctrl
        ctrl[self._finger_ctrl] = fingers
        for commanded in self._joint_target + travel * self._shares + leads:
            ctrl[self._arm_ctrl] = commanded
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

    def touching(self) -> dict[str, frozenset[str]]:
        """What each of the bodies and fingers that are in contact touches, by name."""
        found: dict[str, set[str]] = {}
        for pair in self._data.contact.geom:
            first, second = (self._touchers.get(int(geom)) for geom in pair)
            if first and second and first != second:
                found.setdefault(first, set()).add(second)
                found.setdefault(second, set()).add(first)
        return {name: frozenset(others) for name, others in found.items()}

    def render(self) -> dict[str, NDArray[np.uint8]]:
        """A fresh image (H, W, 3) from each camera."""
        return self._cameras.render(self._data)

    def close(self) -> None:
        """Free the renderer."""
        self._cameras.close()

    def _id(self, kind: str, name: str) -> int:
        return int(getattr(self._model, kind)(name).id)
