"""Formats of LeRobotDatasets that can be read, and how older ones are converted."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from forehand.data.features import read_info
from forehand.data.lerobot.layout import Layout
from forehand.data.lerobot.v2 import LayoutV2
from forehand.data.lerobot.v3 import LayoutV3
from forehand.errors import DatasetError

OLD_INFO_FILE = "meta_data/info.json"
"""Where format 1 has its metadata."""

FORMATS: dict[str, type[Layout]] = {"v3": LayoutV3, "v2": LayoutV2}
"""Layouts by the first number of ``codebase_version``."""


def open_layout(root: Path, info: Mapping[str, Any] | None = None) -> Layout:
    """The layout of the dataset at ``root``; ``info``: its ``meta/info.json``, where it was read already.

    Raises :class:`DatasetError` where its format is not one of :data:`FORMATS`.
    """
    info = read_info(root) if info is None else info
    version = str(info.get("codebase_version", "unknown"))
    if layout := FORMATS.get(version.split(".")[0]):
        return layout(root, info)
    if version.startswith("v1"):
        raise old_format(root, version)
    raise DatasetError(
        f"The dataset at {root} has format {version}, but this version of Forehand reads v2.0, v2.1 and v3.0."
    )


def old_format(root: Path, version: str) -> DatasetError:
    """The error about a dataset of format 1."""
    return DatasetError(
        f"The dataset at {root} has format {version}, which cannot be read; v2.0, v2.1 and v3.0 can. Convert it with the "
        f"script convert_dataset_v1_to_v2.py of an earlier release of LeRobot, or fetch a later revision of the dataset."
    )
