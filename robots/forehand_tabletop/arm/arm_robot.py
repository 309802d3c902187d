"""Simulated arm as a robot: 15 Hz, two cameras, relative Cartesian actions, in a scene that subclasses choose."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray

from forehand import Camera, Contract, Episode, Field, Observation, Robot
from forehand.contracts.rotations import from_euler, to_euler
from forehand.errors import ForehandError
from forehand_tabletop.arm import panda
from forehand_tabletop.arm.arm_simulation import ArmSimulation
from forehand_tabletop.arm.kinematics import (
    Vector,
    matrix_from_rotation_vector,
    rotation_vector,
)
from forehand_tabletop.arm.panda import RATE
from forehand_tabletop.arm.sensors import arm_sensors, measure

WORKSPACE_LOW = (0.28, -0.34, 0.012)  # m, for the target of the point between the fingertips
WORKSPACE_HIGH = (0.78, 0.34, 0.45)
LARGEST_TURN = 0.9  # rad, of the target away from straight down
LEASH = 0.08  # m, between measured and target position
TURN_LEASH = 0.4  # rad, between measured and target rotation
POSITION_STEP = 0.04  # m
ROTATION_STEP = 0.15  # rad
START_ITERATIONS = 30  # of inverse kinematics, from the ready pose to an episode's first pose

STATE_FIELDS = (
    Field("position", 3, unit="m", frame="base", mode="absolute"),
    Field("rotation", 3, unit="rad", frame="base", rotation="euler_xyz_extrinsic", mode="absolute"),
    Field("gripper", 2, unit="m", mode="absolute", gripper="open", low=(0.0,) * 2, high=(panda.FINGER_TRAVEL,) * 2),
)
ACTION_FIELDS = (
    Field("position", 3, unit="m", frame="base", mode="delta", low=(-POSITION_STEP,) * 3, high=(POSITION_STEP,) * 3),
    Field(
        "rotation",
        3,
        unit="rad",
        frame="base",
        rotation="euler_xyz_extrinsic",
        mode="delta",
        low=(-ROTATION_STEP,) * 3,
        high=(ROTATION_STEP,) * 3,
    ),
    Field("gripper", 1, unit="1", mode="absolute", gripper="open", low=(-1.0,), high=(1.0,)),
)
ACTION_LOW = np.concatenate([np.asarray(field.low) for field in ACTION_FIELDS])
ACTION_HIGH = np.concatenate([np.asarray(field.high) for field in ACTION_FIELDS])


class InvalidAction(ForehandError):
    """An action is not seven finite numbers; nothing was moved."""


class NotConnected(ForehandError):
    """A method was called before ``connect``, or after ``close``."""


class ArmRobot(Robot):
    """The arm in a scene, whose layout and success conditions subclasses define.

    Positions are those of the point between the fingertips; rotation is zero when the hand points straight down. Actions
    move the *target* pose, which stays inside the workspace and near the measured pose. The gripper command runs from
    −1 (closed) to +1 (fingers fully apart). Time passes only in :meth:`act` and :meth:`hold`, one control step each.

    ``image_size``: height and width of both cameras' images, in pixels; ``sensors``: names of further sensors
    (:func:`forehand_tabletop.arm.sensors.arm_sensors`).
    """

    home: tuple[float, float, float]
    """Where the point between the fingertips is until the first reset, m."""
    workspace = (WORKSPACE_LOW, WORKSPACE_HIGH)
    largest_turn = LARGEST_TURN
    objects: tuple[str, ...]
    """Names of the bodies beside the arm, in the order of ``object_positions``."""

    def __init__(self, image_size: int, sensors: Sequence[str] = ()) -> None:
        self.contract = Contract(
            cameras=(
                Camera("static", image_size, image_size, "static"),
                Camera("wrist", image_size, image_size, "wrist"),
            ),
            state=STATE_FIELDS,
            action=ACTION_FIELDS,
            rate=RATE,
            sensors=arm_sensors(sensors, image_size, len(self.objects)),
        )
        self.episode: Episode | None = None
        self._target_position = np.array(self.home)
        self._target_rotation = np.eye(3)
        self._gripper = 1.0

    @property
    @abstractmethod
    def simulation(self) -> ArmSimulation:
        """Privileged simulator state; raises :class:`NotConnected` before :meth:`connect`."""

    @property
    @abstractmethod
    def success(self) -> bool | None:
        """Whether the running episode's task is accomplished now; None without an episode."""

    @property
    def target(self) -> tuple[Vector, Vector]:
        """The target pose that actions move: position (3,) m and rotation (3, 3), base frame."""
        return self._target_position.copy(), self._target_rotation.copy()

    def observe(self) -> Observation:
        """State, a fresh image from each camera, what other sensors measure, and whether the task is accomplished."""
        simulation = self.simulation
        fingers = simulation.fingers.clip(0, panda.FINGER_TRAVEL)  # simulated stops give way under load, real ones do not
        state = np.concatenate([simulation.tool_position, to_euler(simulation.tool_rotation), fingers])
        images, sensors = simulation.render(), measure(simulation, self.contract.sensors)
        return Observation(images, state.astype(np.float32), simulation.time, self.success, sensors)

    def act(self, action: NDArray[np.float32]) -> NDArray[np.float32]:
        """One control step; returns the action as it was carried out, clipped to its range, workspace and leash.

        Raises :class:`InvalidAction` before anything moves if ``action`` is not seven finite numbers.
        """
        wanted = _validated(action)
        moved = np.clip(self._allowed_position(wanted[:3]) - self._target_position, ACTION_LOW[:3], ACTION_HIGH[:3])
        turned = np.clip(
            to_euler(self._allowed_rotation(wanted[3:6]) @ self._target_rotation.T),
            ACTION_LOW[3:6],
            ACTION_HIGH[3:6],
        )
        self._target_position = self._target_position + moved
        self._target_rotation = from_euler(turned) @ self._target_rotation
        self._gripper = float(wanted[6])
        self._step()
        return np.concatenate([moved, turned, wanted[6:]]).astype(np.float32)

    def hold(self) -> None:
        """One control step with the target pose and the gripper command left as they are."""
        self._step()

    @contextmanager
    def undone(self) -> Iterator[None]:
        """The physics, the target pose and the gripper command are afterwards what they were, to the bit."""
        target = self._target_position, self._target_rotation, self._gripper
        with self.simulation.undone():
            try:
                yield
            finally:
                self._target_position, self._target_rotation, self._gripper = target

    def _joints_at(self, position: Vector) -> Vector:
        solver, joints = self.simulation.inverse_kinematics, np.array(panda.READY)
        for _ in range(START_ITERATIONS // solver.iterations):
            joints = solver.solve(joints, position, np.eye(3))
        return joints

    def _set_target(self, position: Vector, gripper: float) -> None:
        """Set the upright target pose and the gripper command."""
        self._target_position, self._target_rotation, self._gripper = position, np.eye(3), gripper

    def _step(self) -> None:
        simulation = self.simulation
        joints = simulation.inverse_kinematics.solve(
            simulation.joint_target, self._target_position, self._target_rotation
        )
        simulation.step(joints, (self._gripper + 1) / 2 * panda.FINGER_TRAVEL)

    def _allowed_position(self, delta: Vector) -> Vector:
        measured = self.simulation.tool_position
        target = measured + _limit_norm(self._target_position + delta - measured, LEASH)
        return np.clip(target, *self.workspace)

    def _allowed_rotation(self, delta: Vector) -> Vector:
        measured = self.simulation.tool_rotation
        target = from_euler(delta) @ self._target_rotation
        lead = _limit_norm(rotation_vector(target @ measured.T), TURN_LEASH)
        target = matrix_from_rotation_vector(lead) @ measured
        return matrix_from_rotation_vector(_limit_norm(rotation_vector(target), self.largest_turn))


def _validated(action: NDArray[np.float32]) -> Vector:
    try:
        numbers = np.asarray(action, dtype=np.float64)
    except (TypeError, ValueError):
        numbers = np.empty(0)
    if numbers.shape != ACTION_LOW.shape or not np.isfinite(numbers).all():
        raise InvalidAction(
            f"An action of the tabletop robot is {len(ACTION_LOW)} finite numbers (position 3, rotation 3, gripper 1), "
            f"but this one is {action!r}. Nothing was moved."
        )
    return np.clip(numbers, ACTION_LOW, ACTION_HIGH)


def _limit_norm(vector: Vector, longest: float) -> Vector:
    length = float(np.linalg.norm(vector))
    return vector if length <= longest else vector * (longest / length)
