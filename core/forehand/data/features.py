"""A contract as the features of a LeRobotDataset, and back.

A dataset that Forehand wrote carries its whole contract in ``meta/forehand_contract.json``. Of a foreign dataset only
what ``meta/info.json`` says is known: the rest of its contract is left unstated.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from forehand.contract import Camera, Contract, Field
from forehand.errors import DatasetError

STATE = "observation.state"
ACTION = "action"
IMAGES = "observation.images."
ANNOTATION = "annotation."
CONTRACT_FILE = "meta/forehand_contract.json"
INFO_FILE = "meta/info.json"


def to_features(contract: Contract) -> dict[str, dict[str, Any]]:
    """The LeRobot features of a recording under ``contract``: one video for each camera, state and action vectors."""
    features: dict[str, dict[str, Any]] = {
        IMAGES + camera.name: {
            "dtype": "video",
            "shape": (camera.height, camera.width, 3),
            "names": ["height", "width", "channels"],
        }
        for camera in contract.cameras
    }
    for key, fields in ((STATE, contract.state), (ACTION, contract.action)):
        names = element_names(fields)
        features[key] = {"dtype": "float32", "shape": (len(names),), "names": names}
    return features


def annotation_features(names: Iterable[str]) -> dict[str, dict[str, Any]]:
    """The LeRobot features of words about each frame: one column of strings for each of ``names``."""
    return {ANNOTATION + name: {"dtype": "string", "shape": (1,), "names": None} for name in names}


def annotation_names(features: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """What the frames of a dataset are annotated with, by its LeRobot features."""
    return [
        key.removeprefix(ANNOTATION)
        for key, feature in features.items()
        if key.startswith(ANNOTATION) and feature["dtype"] == "string"
    ]


def element_names(fields: tuple[Field, ...]) -> list[str]:
    """One name for each element of a vector: ``"position.0"``, or ``"gripper"`` for a field of one element."""
    return [f.name if f.size == 1 else f"{f.name}.{i}" for f in fields for i in range(f.size)]


def camera_keys(features: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """Camera name → feature key, of the colour cameras (depth maps are left out)."""
    keys = {}
    for key, feature in features.items():
        about = feature.get("info") or {}
        if feature["dtype"] in ("video", "image") and not (about.get("is_depth_map") or about.get("video.is_depth_map")):
            keys[key.removeprefix(IMAGES).removeprefix("observation.")] = key
    return keys


def read_info(root: Path) -> dict[str, Any]:
    """``meta/info.json`` of the dataset at ``root``."""
    path = root / INFO_FILE
    try:
        info: dict[str, Any] = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise DatasetError(f"{path} cannot be read ({error}). Restore it from a copy of the dataset.") from error
    return info


def read_contract(root: Path) -> Contract:
    """The contract of the dataset at ``root``: its own, or one derived from ``meta/info.json``."""
    path = root / CONTRACT_FILE
    if path.exists():
        try:
            return Contract.from_json(path.read_text())
        except ValueError as error:
            raise DatasetError(f"{path} is not JSON ({error}). Restore it, or remove it to do without.") from error
    return derive_contract(read_info(root))


def derive_contract(info: Mapping[str, Any]) -> Contract:
    """What ``meta/info.json`` alone says: camera sizes, vector lengths and the rate; all else is unstated.

    A dataset without actions has a contract without action fields.
    """
    features = info["features"]
    cameras = []
    for name, key in camera_keys(features).items():
        height, width = _height_and_width(features[key])
        cameras.append(Camera(name, height, width))
    return Contract(
        cameras=tuple(cameras),
        state=(Field("state", int(features[STATE]["shape"][0])),),
        action=(Field("action", int(features[ACTION]["shape"][0])),) if ACTION in features else (),
        rate=float(info["fps"]),
    )


def write_contract(root: Path, contract: Contract) -> None:
    """Lay ``contract`` beside the dataset's other metadata."""
    path = root / CONTRACT_FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(contract.to_json() + "\n")


def _height_and_width(feature: Mapping[str, Any]) -> tuple[int, int]:
    shape = [int(n) for n in feature["shape"]]
    names = feature.get("names") or ()
    channels_first = names[0].startswith("channel") if names else shape[0] in (1, 3)
    return (shape[1], shape[2]) if channels_first else (shape[0], shape[1])
