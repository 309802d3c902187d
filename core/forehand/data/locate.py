"""Locating a dataset, with errors for incomplete or unsupported ones.

LeRobot searches the hub for what is not on disk, so that a mistyped path ends in a network error, and fails deep inside
on a recording that was never finalized. Everything is checked here first.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from forehand.data.features import INFO_FILE, SENSOR_PREFIX, STATE_KEY, camera_keys, is_depth, read_info
from forehand.data.reading import refuse_lfs_pointer
from forehand.errors import DatasetError

FORMAT = "v3.0"
STAGING = ".recording"
READY = "ready"

_REPO_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_PARQUET_MAGIC = b"PAR1"
_HASHED_ENDS = 2**20


def locate_dataset(source: str | Path) -> Path:
    """The folder of a dataset given by path, or by hub repository id (``"owner/name"``, downloaded on first use)."""
    path = Path(source).expanduser()
    if path.exists() or isinstance(source, Path) or not _REPO_ID.fullmatch(source):
        return check_dataset(path)
    try:
        from lerobot.datasets.lerobot_dataset import LeRobotDataset

        root = Path(LeRobotDataset(source).root)
    except Exception as error:  # the hub client and LeRobot fail in many ways, all of which mean: not there
        raise DatasetError(
            f"There is no dataset {source!r}: no folder {path.absolute()}, and as a hub repository it could not be had "
            f"({type(error).__name__}: {str(error).splitlines()[0] if str(error) else 'no reason given'}). "
            f"Correct the path, or the name and the network."
        ) from error
    return check_dataset(root)


def check_dataset(root: str | Path) -> Path:
    """``root``, checked to be a readable LeRobotDataset with state and cameras or sensors, or :class:`DatasetError`."""
    path = Path(root).expanduser().absolute()
    if not path.is_dir():
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
        raise DatasetError(
            f"{path} is not a LeRobotDataset: it has no {INFO_FILE}. Give the folder that holds meta/, data/ and videos/."
        )
    for file in dataset_files(path):
        refuse_lfs_pointer(file)
    info = read_info(path)
    _check_version(path, info)
    _check_features(path, info)
    if not info.get("total_episodes"):
        raise DatasetError(f"The dataset at {path} has no finished episode. Record some before using it.")
    for folder in ("data", "meta/episodes"):
        _check_parquet(path, folder)
    for key in camera_keys(info["features"]).values():
        if info["features"][key]["dtype"] == "video" and not any((path / "videos" / key).rglob("*.mp4")):
            raise DatasetError(
                f"The dataset at {path} has no video of {key!r} in videos/. Fetch or copy it again, whole."
            )
    return path


def fingerprint(root: Path) -> str:
    """A short name for the content of the dataset at ``root``, the same on every machine."""
    return content_digest(root, dataset_files(root))


def content_digest(root: Path, files: Iterable[Path], about: str = "") -> str:
    """A short name for the content of ``files`` below ``root``, and for ``about``.

    Of every file its path, its size and both its ends (1 MiB) are hashed: small files wholly, large ones where Parquet
    and MP4 keep their tables of contents, so that even terabytes take seconds.
    """
    digest = hashlib.blake2b(about.encode(), digest_size=16)
    for path in files:
        size = path.stat().st_size
        digest.update(f"{path.relative_to(root).as_posix()}\0{size}\0".encode())
        with path.open("rb") as file:
            digest.update(file.read(_HASHED_ENDS))
            file.seek(max(size - _HASHED_ENDS, 0))
            digest.update(file.read(_HASHED_ENDS))
    return digest.hexdigest()


def dataset_files(root: Path) -> list[Path]:
    """Every file that belongs to the dataset itself, in a fixed order."""
    return sorted(p for folder in ("meta", "data", "videos") for p in (root / folder).rglob("*") if p.is_file())


def _check_version(path: Path, info: dict[str, Any]) -> None:
    version = str(info.get("codebase_version", "unknown"))
    if version.split(".")[0] == FORMAT.split(".")[0]:
        return
    if version.startswith("v2"):
        raise DatasetError(
            f"The dataset at {path} has format {version}; {FORMAT} is needed. Convert it with LeRobot's own command:\n"
            f"  python -m lerobot.scripts.convert_dataset_v21_to_v30 --repo-id={path.parent.name}/{path.name} "
            f"--root={path} --push-to-hub=false"
        )
    raise DatasetError(f"The dataset at {path} has format {version}, but this version of Forehand reads {FORMAT}.")


def _check_features(path: Path, info: dict[str, Any]) -> None:
    features = info.get("features", {})
    missing = [key for key in (STATE_KEY,) if key not in features]
    sensed = any(key.startswith(SENSOR_PREFIX) or is_depth(feature) for key, feature in features.items())
    if not camera_keys(features) and not sensed:
        missing.append("observation.images.<camera>")
    if missing:
        raise DatasetError(
            f"The dataset at {path} lacks {', '.join(map(repr, missing))}; it has {sorted(features)}. Rename its "
            f"features (lerobot-edit-dataset) or choose another dataset."
        )


def _check_parquet(path: Path, folder: str) -> None:
    files = sorted((path / folder).rglob("*.parquet"))
    broken = [file for file in files if not _is_whole(file)]
    if (
        not files and folder == "data"
    ):  # a recorder writes frames first: without any, they were there and are not any more
        raise DatasetError(f"The dataset at {path} has no table in data/. Fetch or copy it again, whole.")
    if files and not broken:
        return
    which = f"{broken[0].relative_to(path)} has no footer" if broken else f"there is no table in {folder}/"
    raise DatasetError(
        f"The dataset at {path} was never finalized: {which}. Either it was fetched or copied in part: do that again. Or "
        f"its recorder died before LeRobot's finalize(), and those episodes cannot be read by anyone: record them again. "
        f"forehand record keeps every finished episode."
    )


def _is_whole(file: Path) -> bool:
    if file.stat().st_size < 12:
        return False
    with file.open("rb") as opened:
        opened.seek(-len(_PARQUET_MAGIC), os.SEEK_END)
        return opened.read() == _PARQUET_MAGIC
