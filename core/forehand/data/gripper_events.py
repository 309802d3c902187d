"""Gripper events: frames at which the gripper's command changes sides, and the windows that end at them. No torch."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from forehand.data.dataset import Dataset
from forehand.errors import DatasetError

ENDS = (0, 1, 2)
"""Steps from an event to the last frame of the windows that are repeated: Seer's, for real robots."""


def gripper_changes(data: Dataset, option: str) -> NDArray[np.bool_]:
    """Whether the gripper's command changes sides between the frame before and each frame, (N,).

    Sides are above and below the middle of what occurs. Raises :class:`DatasetError`, naming ``option``, where the
    contract states no gripper.
    """
    action = data.contract.action
    fields = np.repeat([f.gripper is not None for f in action], [f.size for f in action])
    if not fields.any():
        raise DatasetError(f"{option}: the contract of the data names no gripper in the action; leave it out.")
    numbers = data.episodes
    acted = numbers.actions[numbers.has_action]
    side = numbers.actions[:, fields] > (acted.max(axis=0) + acted.min(axis=0))[fields] / 2
    changes = np.zeros(len(numbers), np.bool_)
    changes[1:] = (side[1:] != side[:-1]).any(axis=1) & (numbers.episode[1:] == numbers.episode[:-1])
    return changes


def event_windows(data: Dataset, anchors: NDArray[np.int64], last: int, option: str) -> NDArray[np.int64]:
    """Those of the ``anchors`` (n,) whose windows end at an event, or one or two steps behind it; once for each event.

    last: offset of a window's last frame from its anchor.
    """
    events = np.flatnonzero(gripper_changes(data, option))
    ends = (events[:, None] + np.array(ENDS)).ravel()
    wanted = np.sort(ends) - last
    return wanted[np.isin(wanted, anchors)]
