"""Chains simulation: the arm's, with fixtures, lamps and blocks."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

import mujoco
import numpy as np
from dm_control import mjcf

from forehand.errors import ConfigurationError
from forehand_tabletop.arm import panda
from forehand_tabletop.arm.arm_simulation import CAMERAS, ArmSimulation
from forehand_tabletop.arm.kinematics import InverseKinematics, Vector
from forehand_tabletop.arm.panda import build_panda
from forehand_tabletop.chains.dimensions import BLOCKS, BUTTON_TRAVEL
from forehand_tabletop.chains.fixtures import BULB_OFF, BULB_ON, LIGHT_OFF, LIGHT_ON
from forehand_tabletop.chains.layout import Layout
from forehand_tabletop.chains.scene import OVERVIEW, OVERVIEW_VIEW, add_camera, build_scene
from forehand_tabletop.chains.variants import Variant
from forehand_tabletop.chains.world import FINGERS, BlockState, World

FIXTURES = ("drawer", "door", "slider", "switch", "button")
PRESSED, RELEASED = 0.6 * BUTTON_TRAVEL, 0.3 * BUTTON_TRAVEL
FIST = 0.005  # m, from each finger to the middle, when there is nothing between them
GRIP = 0.4  # s, for the fingers to close on a block that is held from the start


class Disturbance(Protocol):
    """Interface of disturbances, as the simulation calls them; see :mod:`forehand_tabletop.chains.disturbances`."""

    def build(self, scene: mjcf.RootElement) -> None:
        """Add bodies to the scene before it is compiled."""

    def lay_out(self, simulation: ChainSimulation, seed: int) -> None:
        """Called after the scene of ``seed`` has been laid out."""

    def begin(self, simulation: ChainSimulation, task: str, seed: int) -> None:
        """Called when a task begins, in a new scene or where the last one ended."""

    def step(self, simulation: ChainSimulation) -> None:
        """Called before every control step."""


class ChainSimulation(ArmSimulation):
    """One variant, with ``disturbances`` or without; ``overview``: whether there is one more camera on all of the arm."""

    def __init__(
        self,
        variant: Variant,
        image_size: int,
        render_quality: str,
        disturbances: Sequence[Disturbance] = (),
        overview: bool = False,
    ) -> None:
        scene = build_scene(variant, render_quality)
        self._disturbances = disturbances
        for disturbance in disturbances:
            disturbance.build(scene)
        if overview:
            add_camera(scene, OVERVIEW, OVERVIEW_VIEW)
        super().__init__(scene, image_size, BLOCKS, ({OVERVIEW: OVERVIEW} if overview else {}) | CAMERAS)
        self.variant = variant
        # MuJoCo does not simulate blocks and fixtures at rest until something touches them.
        self._model.opt.enableflags |= mujoco.mjtEnableBit.mjENBL_SLEEP
        self.inverse_kinematics = _arm_alone()
        # Views of the physics' own memory, which stays where it is.
        self._block_poses = {name: self._data.joint(name).qpos for name in BLOCKS}
        self._block_speeds = {name: self._data.joint(name).qvel for name in BLOCKS}
        self._fixtures = {name: self._data.joint(name).qpos for name in FIXTURES}
        self._sites = {name: self._id("site", name) for name in (*FIXTURES, "drawer_inside")}
        self._bulb, self._light = self._model.mat("bulb"), self._model.mat("light")
        self._shines = self._armed = False

    @property
    def model(self) -> mujoco.MjModel:
        """The physics, for disturbances."""
        return self._model

    @property
    def data(self) -> mujoco.MjData:
        """Its state, for disturbances."""
        return self._data

    def reset(self, layout: Layout, joints: Vector, seed: int = 0) -> None:
        """Lay out the scene; ``joints`` (7,) rad: the arm's, for the layout's hand; ``seed``: for the disturbances."""
        self.reset_arm(joints, panda.FINGER_TRAVEL)
        for name, value in layout.joints.items():
            self._fixtures[name][:] = value
        for name, (position, yaw) in layout.blocks.items():
            self.place_block(name, position, yaw)
        for disturbance in self._disturbances:
            disturbance.lay_out(self, seed)
        self._shines, self._armed = layout.light, True
        mujoco.mj_forward(self._model, self._data)
        if layout.held is not None:
            held, speed = self._block_poses[layout.held], self._block_speeds[layout.held]
            pose = held.copy()
            while self._data.time < GRIP:
                self._data.ctrl[self._finger_ctrl] = 0.0
                held[:], speed[:] = pose, 0  # fixed in mid-air until the fingers have closed on it
                mujoco.mj_step(self._model, self._data)
            self._data.time = 0
            mujoco.mj_forward(self._model, self._data)
        self._show_lamps()

    def begin(self, task: str, seed: int) -> None:
        """Begin a task in the present scene, with the disturbances' part in it."""
        for disturbance in self._disturbances:
            disturbance.begin(self, task, seed)

    def place_block(self, name: str, position: Vector, yaw: float = 0.0) -> None:
        """Put one block's centre at ``position`` (3,) m, at rest."""
        self._block_poses[name][:] = (*position, np.cos(yaw / 2), 0, 0, np.sin(yaw / 2))
        self._block_speeds[name][:] = 0

    def step(self, joints: Vector, fingers: float) -> None:
        """One control step; a press of the button, once it was released, turns the light on or off."""
        for disturbance in self._disturbances:
            disturbance.step(self)
        super().step(joints, fingers)
        pressed = float(self._fixtures["button"][0])
        if self._armed and pressed > PRESSED:
            self._shines, self._armed = not self._shines, False
        elif pressed < RELEASED:
            self._armed = True
        self._show_lamps()

    @contextmanager
    def undone(self) -> Iterator[None]:
        """See :meth:`ArmSimulation.undone`; raises :class:`ConfigurationError` under disturbances, which have plans."""
        if self._disturbances:
            raise ConfigurationError("What a disturbance does cannot be undone. Leave disturbances out.")
        lamps = self._shines, self._armed
        try:
            with super().undone():
                yield
        finally:
            self._shines, self._armed = lamps
            self._show_lamps()

    @property
    def armed(self) -> bool:
        """Whether the next press of the button counts: it was released since the last one."""
        return self._armed

    def site(self, name: str) -> Vector:
        """The point at which a fixture is grasped, (3,) m; ``drawer_inside`` is the middle of the drawer's floor."""
        return self._data.site_xpos[self._sites[name]].copy()

    def world(self) -> World:
        """Everything as it is now."""
        touching = self.touching()
        joints = {name: float(self._fixtures[name][0]) for name in ("drawer", "door", "slider", "switch")}
        apart = float(self.fingers.mean()) > FIST
        blocks = {}
        for name, pose in self._block_poses.items():
            w, x, y, z = pose[3:].tolist()
            yaw = math.atan2(2 * (w * z + x * y), 1 - 2 * (y * y + z * z))
            speed = float(np.linalg.norm(self._block_speeds[name][:3]))
            touched = touching.get(name, frozenset())
            blocks[name] = BlockState(pose[:3].copy(), yaw, speed, touched, apart and touched >= FINGERS)
        return World(**joints, light=self._shines, inside=self.site("drawer_inside"), blocks=blocks)

    def _show_lamps(self) -> None:
        bulb = self._fixtures["switch"][0] > 0
        for lamp, shines, on, off in (
            (self._bulb, bulb, BULB_ON, BULB_OFF),
            (self._light, self._shines, LIGHT_ON, LIGHT_OFF),
        ):
            lamp.rgba[:] = on if shines else off
            lamp.emission[:] = 0.9 if shines else 0.0


def _arm_alone() -> InverseKinematics:
    """Inverse kinematics on a model of the arm alone, which is faster, and in which no body sleeps."""
    scene = build_panda()
    model = mujoco.MjModel.from_xml_string(scene.to_xml_string(), scene.get_assets())
    joints = [model.joint(name).id for name in panda.JOINTS]
    solver = InverseKinematics(model, model.site("tool").id, joints, np.array(panda.READY))
    solver.iterations = 2  # targets are a step apart, so that the last solution is a good initial guess
    return solver
