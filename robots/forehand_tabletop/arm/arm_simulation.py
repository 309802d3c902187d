"""Arm simulation: physics, cameras, and the motion of one control step."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property

import mujoco
import numpy as np
from dm_control import mjcf
from numpy.typing import NDArray

from forehand_tabletop.arm import panda
from forehand_tabletop.arm.cameras import Cameras
from forehand_tabletop.arm.kinematics import InverseKinematics, Vector
from forehand_tabletop.arm.panda import RATE

CAMERAS = {"static": "static", "wrist": "panda/wrist"}


class ArmSimulation:
    """Physics and cameras of one scene with the arm, driven by joint targets.

    ``image_size``: height and width of both cameras' images, in pixels; ``bodies``: the scene's bodies whose contacts
    with each other and with the fingers :meth:`touching` returns; ``cameras``: name in the contract → name in the scene.
    Raises :class:`~forehand.utils.rendering.RenderingError` where there is no renderer.
    """

    def __init__(
        self, scene: mjcf.RootElement, image_size: int, bodies: Iterable[str], cameras: Mapping[str, str] = CAMERAS
    ) -> None:
        self._model = mujoco.MjModel.from_xml_string(scene.to_xml_string(), scene.get_assets())
        self._data = mujoco.MjData(self._model)
        substeps = round(1 / RATE / self._model.opt.timestep)
        self._fractions = np.arange(1, substeps + 1)[:, None] / substeps  # of a control step, after each substep
        joints = [self._id("joint", f"panda/{name}") for name in panda.JOINTS]
        fingers = [self._id("joint", f"panda/{name}") for name in panda.FINGERS]
        self._arm_qpos = self._model.jnt_qposadr[joints]
        self._finger_qpos = self._model.jnt_qposadr[fingers]
        self._arm_ctrl = np.array([self._id("actuator", f"panda/{name}") for name in panda.JOINTS])
        self._finger_ctrl = np.array([self._id("actuator", f"panda/{name}") for name in panda.FINGERS])
        owners = {self._id("body", name): name for name in bodies}
        self._objects = list(owners)
        owners |= {self._id("body", f"panda/{name}"): name for name in panda.FINGERS}
        self._touchers = {geom: owners[body] for geom, body in enumerate(self._model.geom_bodyid) if body in owners}
        self._tool = self._id("site", "panda/tool")
        self.inverse_kinematics = InverseKinematics(self._model, self._tool, joints, np.array(panda.READY))
        self._cameras = Cameras(self._model, cameras, image_size)

    def reset_arm(self, joints: Vector, fingers: float) -> None:
        """Reset the physics, and put the arm at ``joints`` (7,) rad and each finger at ``fingers`` m."""
        mujoco.mj_resetData(self._model, self._data)
        self._data.qpos[self._arm_qpos] = joints
        self._data.qpos[self._finger_qpos] = fingers
        self._data.ctrl[self._arm_ctrl] = joints
        self._data.ctrl[self._finger_ctrl] = fingers
        self._joint_target: Vector = joints.copy()
        self._lead: Vector = np.zeros(len(joints))

    def step(self, joints: Vector, fingers: float) -> None:
        """One control step (1/15 s) towards joint targets (7,) rad and finger positions (m).

        The target moves linearly through the step, as far as the joints' speed limits allow. The servo commands lead it
        by the servos' own lag, which changes linearly too: a jerk would shake blocks out of the fingers.
        """
        travel = joints - self._joint_target
        travel /= max(1.0, float(np.max(np.abs(travel) * RATE / panda.JOINT_SPEED)))
        before, after = self._lead, travel * RATE * panda.DAMPING / panda.STIFFNESS
        leads = before + (after - before) * self._fractions
        ctrl = self._data.ctrl
        ctrl[self._finger_ctrl] = fingers
        for commanded in self._joint_target + travel * self._fractions + leads:
            ctrl[self._arm_ctrl] = commanded
            mujoco.mj_step(self._model, self._data)
        self._lead = after
        self._joint_target += travel
        mujoco.mj_forward(self._model, self._data)  # poses and contacts as they are now, not one substep ago

    @contextmanager
    def undone(self) -> Iterator[None]:
        """What is simulated inside the ``with`` statement has not happened after it, to the bit."""
        before, commanded = self._spare, (self._joint_target.copy(), self._lead.copy())
        mujoco.mj_copyData(before, self._model, self._data)
        try:
            yield
        finally:
            mujoco.mj_copyData(self._data, self._model, before)
            self._joint_target, self._lead = commanded

    @cached_property
    def _spare(self) -> mujoco.MjData:
        return mujoco.MjData(self._model)

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
        """The joint angles last commanded, (7,) rad."""
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
        """Contacts: name of a body or finger → names of the bodies and fingers that it touches."""
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

    def render_depth(self, cameras: Iterable[str]) -> dict[str, NDArray[np.float32]]:
        """Distance along the optical axis from each of ``cameras``, (H, W) m; 0 where nothing is drawn."""
        return self._cameras.render_depth(self._data, cameras)

    def finger_forces(self) -> Vector:
        """The sum of the contact forces on each finger, (2, 3) N, base frame."""
        forces, force = np.zeros((len(panda.FINGERS), 3)), np.zeros(6)
        for number, contact in enumerate(self._data.contact):
            on = [self._touchers.get(int(geom)) for geom in contact.geom]
            if not set(on) & set(panda.FINGERS):
                continue
            mujoco.mj_contactForce(self._model, self._data, number, force)
            pushed = contact.frame.reshape(3, 3).T @ force[:3]  # on the second geom, by the first
            for name, sign in zip(on, (-1, 1), strict=True):
                if name in panda.FINGERS:
                    forces[panda.FINGERS.index(name)] += sign * pushed
        return forces

    def object_positions(self) -> Vector:
        """The centre of each of ``bodies``, in their order, (n, 3) m, base frame."""
        return self._data.xpos[self._objects].copy()

    def close(self) -> None:
        """Free the renderer."""
        self._cameras.close()

    def _id(self, kind: str, name: str) -> int:
        return int(getattr(self._model, kind)(name).id)
