"""Contracts of the released models, for each training platform.

State: position (m) and extrinsic xyz Euler angles (rad) of the end effector, and the gripper. Action: the end effector's
relative motion, scaled to [-1, 1], and the gripper, -1 or 1.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from forehand import Camera, Contract, Field

CAMERAS = ("primary", "wrist")
WORLD = "world"
"""The frame of both simulators' end effector poses and motions."""

_COMMAND = Field("gripper", 1, gripper="open", low=(-1.0,), high=(1.0,))
_FINGERS = Field("gripper", 2, unit="m", gripper="open")


def _pose(frame: str) -> tuple[Field, Field]:
    return (
        Field("position", 3, unit="m", frame=frame),
        Field("rotation", 3, unit="rad", frame=frame, rotation="euler_xyz_extrinsic"),
    )


def _motion(position: str, rotation: str, frame: str) -> tuple[Field, Field]:
    low, high = (-1.0,) * 3, (1.0,) * 3
    return (
        Field("position", 3, unit=position, frame=frame, mode="delta", low=low, high=high),
        Field("rotation", 3, unit=rotation, frame=frame, mode="delta", low=low, high=high),
    )


def _cameras(static: int, wrist: int) -> tuple[Camera, Camera]:
    return Camera("primary", static, static, role="static"), Camera("wrist", wrist, wrist, role="wrist")


def calvin() -> Contract:
    """CALVIN (Mees et al. 2022): ``rel_actions`` as they are; the gripper's state is its last command, -1 or 1."""
    motion = _motion("0.02 m", "0.05 rad", WORLD)
    return Contract(_cameras(200, 84), (*_pose(WORLD), _COMMAND), (*motion, _COMMAND), rate=30.0)


def libero() -> Contract:
    """LIBERO (Liu et al. 2023): actions as they are, so that 1 closes the gripper; the state has both finger widths."""
    closing = Field("gripper", 1, gripper="closed", low=(-1.0,), high=(1.0,))
    motion = _motion("0.05 m", "0.5 rad", WORLD)
    return Contract(_cameras(128, 128), (*_pose(WORLD), _FINGERS), (*motion, closing), rate=20.0)


def real() -> Contract:
    """DROID and real robots: motions in the last target pose, which target poses chain."""
    motion = _motion("0.02 m", "0.05 rad", "end_effector")
    return Contract(_cameras(224, 224), (*_pose("base"), _COMMAND), (*motion, _COMMAND), rate=15.0)


PLATFORMS: Mapping[str, Callable[[], Contract]] = {"calvin": calvin, "libero": libero, "real": real}
