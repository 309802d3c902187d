"""Contract of LIBERO's robot, and its numbers from the simulator's."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from forehand import Camera, Contract, Field
from forehand.contracts.orientation import ORIENTATIONS, turned
from forehand.contracts.rotations import from_quaternion, to_euler
from forehand.errors import ConfigurationError, nearest
from forehand_libero.simulation import CAMERAS, RATE, Readings

DRAWN = "flipped_vertically"
"""How the simulator draws: rows from bottom to top."""

NAMES = ("static", "wrist")
"""Of the cameras, in the order of the simulator's."""


def axis_angle(quaternion: NDArray[np.float64]) -> NDArray[np.float64]:
    """(3,) rad from a unit x, y, z, w, with an angle from 0 to 2π, as robosuite computes it: the sign of w matters."""
    half = math.acos(min(1.0, max(-1.0, float(quaternion[3]))))
    sine = math.sin(half)
    return np.zeros(3) if abs(sine) < 1e-9 else np.asarray(quaternion[:3], np.float64) * (2 * half / sine)


def euler(quaternion: NDArray[np.float64]) -> NDArray[np.float64]:
    """(3,) rad, extrinsic x, y, z angles, from x, y, z, w."""
    return to_euler(from_quaternion(quaternion))


ROTATIONS: Mapping[str, Callable[[NDArray[np.float64]], NDArray[np.float64]]] = {
    "euler_xyz_extrinsic": euler,
    "axis_angle": axis_angle,
}
"""Form of the state's rotation → from the simulator's quaternion."""


def contract(image_size: int, orientation: str, rotation: str) -> Contract:
    """The contract of both cameras, which lie as ``orientation`` says, and of a state with that form of ``rotation``.

    State (8): position, rotation, both fingers. Action (7) in [-1, 1]: motion of the end effector from its present pose,
    in axes of the world; 1 closes the gripper. Source: robosuite's controller OSC_POSE as LIBERO configures it.
    """
    for option, value, known in (("orientation", orientation, ORIENTATIONS), ("rotation", rotation, ROTATIONS)):
        if value not in known:
            raise ConfigurationError(f"{option} is {value!r}. {nearest(value, known)}")
    low, high = (-1.0,) * 3, (1.0,) * 3
    moved: dict[str, Any] = {"frame": "world", "mode": "delta", "low": low, "high": high}
    return Contract(
        cameras=tuple(Camera(name, image_size, image_size, name, orientation) for name in NAMES),
        state=(
            Field("position", 3, unit="m", frame="world", mode="absolute"),
            Field("rotation", 3, unit="rad", frame="world", rotation=rotation, mode="absolute"),
            Field("gripper", 2, unit="m", gripper="open"),
        ),
        action=(
            Field("position", 3, unit="0.05 m", **moved),
            Field("rotation", 3, unit="0.5 rad", rotation="axis_angle", **moved),
            Field("gripper", 1, gripper="closed", low=(-1.0,), high=(1.0,)),
        ),
        rate=float(RATE),
    )


def pictures(readings: Readings, orientation: str) -> dict[str, NDArray[np.uint8]]:
    """Both cameras' pictures (H, W, 3), lying as ``orientation`` says."""
    return {
        name: turned(readings[f"{camera}_image"], DRAWN, orientation) for name, camera in zip(NAMES, CAMERAS, strict=True)
    }


def state(readings: Readings, rotation: str) -> NDArray[np.float32]:
    """The state (8,)."""
    angles = ROTATIONS[rotation](np.asarray(readings["robot0_eef_quat"], np.float64))
    parts = (readings["robot0_eef_pos"], angles, readings["robot0_gripper_qpos"])
    return np.concatenate(parts).astype(np.float32)
