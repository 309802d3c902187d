"""Contract of CALVIN's robot, and its numbers from the simulator's."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from forehand import Camera, Contract, Field
from forehand_calvin.simulation import Readings

RATE = 30  # Hz
EULER = "euler_xyz_extrinsic"


def contract(full_state: bool = False) -> Contract:
    """The contract of both cameras, whose pictures are upright, and of ``robot_obs``.

    State (7): position and rotation of the end effector, the gripper's last command; ``full_state`` (15): all of
    ``robot_obs``, with the opening width and the seven joints before that. Action (7) in [-1, 1]: motion of the last
    target pose, in axes of the world, and the gripper, 1 to open it.
    """
    moved: dict[str, Any] = {"frame": "world", "mode": "delta", "low": (-1.0,) * 3, "high": (1.0,) * 3}
    command = Field("gripper", 1, gripper="open", low=(-1.0,), high=(1.0,))
    pose = (
        Field("position", 3, unit="m", frame="world", mode="absolute"),
        Field("rotation", 3, unit="rad", frame="world", rotation=EULER, mode="absolute"),
    )
    body = (
        Field("gripper_width", 1, unit="m", gripper="open"),
        Field("joints", 7, unit="rad", mode="absolute"),
    )
    return Contract(
        cameras=(Camera("static", 200, 200, "static", "upright"), Camera("wrist", 84, 84, "wrist", "upright")),
        state=(*pose, *(body if full_state else ()), command),
        action=(
            Field("position", 3, unit="0.02 m", **moved),
            Field("rotation", 3, unit="0.05 rad", rotation=EULER, **moved),
            command,
        ),
        rate=float(RATE),
    )


def pictures(readings: Readings) -> dict[str, NDArray[np.uint8]]:
    """Both cameras' pictures, (200, 200, 3) and (84, 84, 3)."""
    seen = readings["rgb_obs"]
    return {
        "static": np.ascontiguousarray(seen["rgb_static"], np.uint8),
        "wrist": np.ascontiguousarray(seen["rgb_gripper"], np.uint8),
    }


def state(readings: Readings, full_state: bool) -> NDArray[np.float32]:
    """The state, (7,) or (15,)."""
    whole = np.asarray(readings["robot_obs"], np.float32)
    return whole if full_state else whole[[*range(6), 14]]


def command(action: NDArray[np.float32]) -> NDArray[np.float32]:
    """The action (7,) with the gripper fully open (1) or closed (-1), which is all that the simulator takes."""
    sent = np.array(action, np.float32)
    sent[6] = 1.0 if sent[6] > 0 else -1.0
    return sent
