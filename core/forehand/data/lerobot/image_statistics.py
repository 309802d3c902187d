"""Statistics of the images of a LeRobotDataset, as its metadata states them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from forehand.data.features import camera_keys
from forehand.data.lerobot.formats import open_layout
from forehand.data.source import Statistic
from forehand.data.statistics import STATED
from forehand.errors import DatasetError


def recorded_image_statistics(root: Path, camera: str) -> Statistic:
    """Statistics of a camera's images in the LeRobotDataset at ``root``, by channel.

    ``mean``, ``std``, ``min`` and ``max``, (3,), of levels from 0 to 1, and ``count`` of frames, (1,). They are those of
    its metadata (``meta/stats.json``, or in format 2.1 ``meta/episodes_stats.jsonl``): exact where Forehand recorded the
    images, of a sample of them where LeRobot did.

    Raises :class:`DatasetError` where the metadata lacks them, and :class:`KeyError` where there is no such camera.
    """
    layout = open_layout(root)
    key, path = camera_keys(layout.info["features"])[camera], layout.statistics_file
    try:
        stated = layout.image_statistics(key)
        found: Statistic = {name: np.asarray(stated[name], float).reshape(-1) for name in STATED}
    except (TypeError, KeyError, ValueError, DatasetError) as error:
        raise _lacking(path, key) from error
    sizes = all(len(value) == (1 if name == "count" else 3) for name, value in found.items())
    if not sizes or not all(np.isfinite(value).all() for value in found.values()) or found["count"][0] < 1:
        raise _lacking(path, key)
    return found


def _lacking(path: Path, key: str) -> DatasetError:
    return DatasetError(
        f"The policy takes image statistics of {key!r}, but {path} has no mean, std, min, max and count of its three "
        f"channels. Restore that file, or configure the policy to do without them."
    )
