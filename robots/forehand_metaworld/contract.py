"""Contract of Meta-World's robot."""

from __future__ import annotations

from forehand import Camera, Contract, Field
from forehand_metaworld.simulation import CAMERAS, RATE


def contract(image_size: int) -> Contract:
    """The contract of both cameras, upright.

    State (4): position of the hand and opening of the fingers, 0 closed to 1 open. Action (4) in [-1, 1]: motion of the
    hand's last target, 1.0 is 0.01 m, in axes of the world, and the force of the fingers, where 1 closes. Source: Yu et
    al. 2019 (arXiv 1910.10897), section 4.
    """
    low, high = (-1.0,) * 3, (1.0,) * 3
    return Contract(
        cameras=tuple(Camera(name, image_size, image_size, name, "upright") for name in CAMERAS),
        state=(
            Field("position", 3, unit="m", frame="world", mode="absolute"),
            Field("gripper", 1, unit="1", gripper="open", mode="absolute"),
        ),
        action=(
            Field("position", 3, unit="0.01 m", frame="world", mode="delta", low=low, high=high),
            Field("gripper", 1, unit="1", gripper="closed", mode="absolute", low=(-1.0,), high=(1.0,)),
        ),
        rate=float(RATE),
    )
