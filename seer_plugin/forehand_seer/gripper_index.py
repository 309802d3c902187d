"""Gripper elements of state and action vectors, by the contract."""

from __future__ import annotations

from collections.abc import Sequence

from forehand import Field


def split_gripper(fields: Sequence[Field]) -> tuple[list[int], list[int]]:
    """Positions of the arm's elements and of the gripper's (fields whose ``gripper`` sense is stated), in order."""
    arm: list[int] = []
    gripper: list[int] = []
    position = 0
    for field in fields:
        (arm if field.gripper is None else gripper).extend(range(position, position + field.size))
        position += field.size
    return arm, gripper
