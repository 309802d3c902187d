"""Locating a dataset, with errors for incomplete or unsupported ones.

What is checked here is named at once: a mistyped path would end in a network error, and a recording that was never
finalized in one of deep inside.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from forehand.data.content_digest import content_digest
from forehand.data.features import INFO_FILE, SENSOR_PREFIX, STATE_KEY, camera_keys, is_depth, read_info
from forehand.data.lerobot.formats import OLD_INFO_FILE, old_format, open_layout
from forehand.data.lerobot.hub import download_dataset
from forehand.data.reading import files_below, refuse_lfs_pointers
from forehand.errors import ConfigurationError, DatasetError

STAGING = ".recording"
READY = "ready"

_REPO_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


def locate_dataset(source: str | Path, revision: str | None = None, stateless: bool = False) -> Path:
    """The folder of a dataset given by path, or by hub repository id (``"owner/name"``, downloaded on first use).

    revision: of the repository (:func:`forehand.data.lerobot.hub.download_dataset`). stateless: as for
    :func:`check_dataset`. Raises :class:`DatasetError`.
    """
    path = Path(source).expanduser()
    if _exists(path) or isinstance(source, Path) or not _REPO_ID.fullmatch(source):
        if revision is not None:
            raise ConfigurationError(f"{path} is a folder, and revision={revision!r} is of repositories on the hub.")
        return check_dataset(path, stateless)
    try:
        root = download_dataset(source, revision)
    except Exception as error:  # the hub's client fails in many ways, all of which mean: not there
        raise DatasetError(
            f"There is no dataset {source!r}: no folder {path.absolute()}, and as a hub repository it could not be had "
            f"({type(error).__name__}: {str(error).splitlines()[0] if str(error) else 'no reason given'}). "
            f"Correct the path, or the name and the network."
        ) from error
    return check_dataset(root, stateless)


def check_dataset(root: str | Path, stateless: bool = False) -> Path:
    """``root``, checked to be a readable LeRobotDataset with state and cameras or sensors, or :class:`DatasetError`.

    stateless: whether it may do without ``observation.state``, since other columns are the state.
    """
    path = Path(root).expanduser().absolute()
    if not _exists(path) or not path.is_dir():
        raise DatasetError(
            f"There is no dataset at {path}: no such folder. Give the folder that holds {INFO_FILE}, or record one there "
            f"with: forehand record output={root}"
        )
    halfway = (path / STAGING / READY).is_dir()
    if halfway or not (path / INFO_FILE).is_file():
        if halfway or (path / STAGING).is_dir():
            raise DatasetError(
                f"The recording at {path} was interrupted before its episodes were put together. Nothing is lost: run "
                f"the same forehand command (record, or run record_to=…) again."
            )
        if (path / OLD_INFO_FILE).is_file():
            raise old_format(path, "v1")
        raise DatasetError(
            f"{path} is not a LeRobotDataset: it has no {INFO_FILE}. Give the folder that holds meta/, data/ and videos/."
        )
    refuse_lfs_pointers(path, _names(path))
    info = read_info(path)
    layout = open_layout(path, info)
    _check_features(path, info, stateless)
    if not info.get("total_episodes"):
        raise DatasetError(f"The dataset at {path} has no finished episode. Record some before using it.")
    layout.check()
    return path


def _exists(path: Path) -> bool:
    """Whether there is such a file or folder; there is none of a name that the system refuses, such as a long one."""
    try:
        return path.exists()
    except OSError:
        return False


def fingerprint(root: Path) -> str:
    """A short name for the content of the dataset at ``root``, the same on every machine."""
    return content_digest(root, dataset_files(root))


def dataset_files(root: Path) -> list[Path]:
    """Every file that belongs to the dataset itself, in a fixed order."""
    return [root / name for name in sorted(_names(root), key=lambda name: name.split("/"))]


def _names(root: Path) -> list[str]:
    return [name for folder in ("meta", "data", "videos") for name in files_below(root, folder)]


def _check_features(path: Path, info: dict[str, Any], stateless: bool) -> None:
    features = info.get("features", {})
    missing = [STATE_KEY] if STATE_KEY not in features and not stateless else []
    sensed = any(key.startswith(SENSOR_PREFIX) or is_depth(feature) for key, feature in features.items())
    if not camera_keys(features) and not sensed:
        missing.append("observation.images.<camera>")
    if missing:
        raise DatasetError(
            f"The dataset at {path} lacks {', '.join(map(repr, missing))}; it has {sorted(features)}. Rename its "
            f"features (lerobot-edit-dataset) or choose another dataset."
        )
