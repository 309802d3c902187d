"""The running simulation: the arm's, with fixtures, lamps and blocks."""

from __future__ import annotations

import math
from collections.abc import Sequence

import mujoco
import numpy as np

from forehand_robots.tabletop import panda
from forehand_robots.tabletop.arm_simulation import CAMERAS, ArmSimulation
from forehand_robots.tabletop.kinematics import InverseKinematics, Vector
from forehand_robots.tabletop.panda import build_panda
from forehand_robots.tabletop_chains.dimensions import (
    BLOCKS,
    BUTTON_TRAVEL,
)
from forehand_robots.tabletop_chains.disturbances import DISTURBANCES, numbers_for
from forehand_robots.tabletop_chains.fixtures import (
    BULB_OFF,
    BULB_ON,
    LIGHT_OFF,
    LIGHT_ON,
)
from forehand_robots.tabletop_chains.layout import Layout
from forehand_robots.tabletop_chains.scene import PORTRAIT, PORTRAIT_VIEW, add_camera, build_scene
from forehand_robots.tabletop_chains.variants import Variant
from forehand_robots.tabletop_chains.world import FINGERS, Block, World

FIXTURES = ("drawer", "door", "slider", "switch", "button")
PRESSED, RELEASED = 0.6 * BUTTON_TRAVEL, 0.3 * BUTTON_TRAVEL
FIST = 0.005  # m, from each finger to the middle, when there is nothing between them
GRIP = 0.4  # s, for the fingers to close on a block that is held from the start


class ChainSimulation(ArmSimulation):
    """One variant, with disturbances or without; ``portrait`` is one more camera, which sees all of the arm."""

    def __init__(
        self, variant: Variant, image_size: int, look: str, disturbances: Sequence[str] = (), portrait: bool = False
    ) -> None:
        scene = build_scene(variant, look)
        self._disturbances = {name: DISTURBANCES[name]() for name in disturbances}
        for disturbance in self._disturbances.values():
            disturbance.build(scene)
        if portrait:
            add_camera(scene, PORTRAIT, PORTRAIT_VIEW)
        super().__init__(scene, image_size, BLOCKS, ({PORTRAIT: PORTRAIT} if portrait else {}) | CAMERAS)
        self.variant = variant
        # Blocks and fixtures that lie still cost nothing until something touches them.
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
        """Lay everything out, the arm at ``joints`` (7,) rad, which hold the layout's hand; ``seed`` is disturbances'."""
        self.reset_arm(joints, panda.FINGER_TRAVEL)
        for name, value in layout.joints.items():
            self._fixtures[name][:] = value
        for name, (position, yaw) in layout.blocks.items():
            self.place_block(name, position, yaw)
        for name, disturbance in self._disturbances.items():
            disturbance.lay_out(self, numbers_for(name, seed))
        self._shines, self._armed = layout.light, True
        mujoco.mj_forward(self._model, self._data)
        if layout.held is not None:
            held, speed = self._block_poses[layout.held], self._block_speeds[layout.held]
            pose = held.copy()
            while self._data.time < GRIP:
                self._data.ctrl[self._finger_ctrl] = 0.0
                held[:], speed[:] = pose, 0  # in mid-air, until the fingers have it
                mujoco.mj_step(self._model, self._data)
            self._data.time = 0
            mujoco.mj_forward(self._model, self._data)
        self._show_lamps()

    def begin(self, task: str, seed: int) -> None:
        """A task begins where everything is now, which may call for disturbances."""
        for name, disturbance in self._disturbances.items():
            disturbance.begin(self, task, numbers_for(name, seed, task))

    def place_block(self, name: str, position: Vector, yaw: float = 0.0) -> None:
        """Put one block's centre at ``position`` (3,) m, at rest."""
        self._block_poses[name][:] = (*position, np.cos(yaw / 2), 0, 0, np.sin(yaw / 2))
        self._block_speeds[name][:] = 0

    def step(self, joints: Vector, fingers: float) -> None:
        """One control step; a press of the button, once it was released, turns the light on or off."""
        for disturbance in self._disturbances.values():
            disturbance.step(self)
        super().step(joints, fingers)
        pressed = float(self._fixtures["button"][0])
        if self._armed and pressed > PRESSED:
            self._shines, self._armed = not self._shines, False
        elif pressed < RELEASED:
            self._armed = True
        self._show_lamps()

    @property
    def armed(self) -> bool:
        """Whether the next press of the button counts: it was released since the last one."""
        return self._armed

    def site(self, name: str) -> Vector:
        """Where a fixture is taken hold of, (3,) m; ``drawer_inside`` is the middle of the drawer's floor."""
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
            blocks[name] = Block(pose[:3].copy(), yaw, speed, touched, apart and touched >= FINGERS)
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
    """Inverse kinematics on a model without the scene, which is quicker, and where nothing sleeps."""
    scene = build_panda()
    model = mujoco.MjModel.from_xml_string(scene.to_xml_string(), scene.get_assets())
    joints = [model.joint(name).id for name in panda.JOINTS]
    solver = InverseKinematics(model, model.site("tool").id, joints, np.array(panda.READY))
    solver.iterations = 2  # targets are a step apart, so the last answer is a good beginning
    return solver
