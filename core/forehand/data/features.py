"""Mapping between a contract and the features of a LeRobotDataset.

A dataset that Forehand wrote holds its whole contract in ``meta/forehand_contract.json``. The contract of any other
dataset is derived from ``meta/info.json``, and the rest of it left unstated.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from forehand.contracts.contract import Camera, Contract, Field, check_sizes
from forehand.contracts.sensor import DEPTH, POINT_CLOUD, Sensor
from forehand.data.reading import is_file_name, refuse_lfs_pointer
from forehand.errors import ContractMismatch, DatasetError
from forehand.utils.reading import read_json

STATE_KEY = "observation.state"
ACTION_KEY = "action"
IMAGE_PREFIX = "observation.images."
SENSOR_PREFIX = "observation.sensors."
ANNOTATION_PREFIX = "annotation."
CONTRACT_FILE = "meta/forehand_contract.json"
INFO_FILE = "meta/info.json"
STATS_FILE = "meta/stats.json"


def to_features(contract: Contract) -> dict[str, dict[str, Any]]:
    """The LeRobot features of a recording under ``contract``: a video a camera, and state, action and sensors if any."""
    features: dict[str, dict[str, Any]] = {
        IMAGE_PREFIX + camera.name: {
            "dtype": "video",
            "shape": (camera.height, camera.width, 3),
            "names": ["height", "width", "channels"],
        }
        for camera in contract.cameras
    }
    for key, fields in ((STATE_KEY, contract.state), (ACTION_KEY, contract.action)):
        if not (names := element_names(fields)):
            continue
        features[key] = {"dtype": "float32", "shape": (len(names),), "names": names}
    return features | {sensor_key(sensor): _sensor_feature(sensor) for sensor in contract.sensors}


def sensor_key(sensor: Sensor) -> str:
    """The LeRobot feature of a sensor: ``observation.images.<name>`` of depth, else ``observation.sensors.<name>``."""
    return (IMAGE_PREFIX if sensor.kind == DEPTH else SENSOR_PREFIX) + sensor.name


def _sensor_feature(sensor: Sensor) -> dict[str, Any]:
    if sensor.kind == DEPTH:
        about: dict[str, Any] = {"is_depth_map": True}
        if sensor.unit in ("m", "mm"):  # those that LeRobot knows; without one it gives the counts
            about["depth_unit"] = sensor.unit
        names = ["height", "width", "channels"]
        return {"dtype": "image", "shape": (*sensor.full_shape, 1), "names": names, "info": about}
    if sensor.kind == POINT_CLOUD:  # row by row: LeRobot's merging of datasets fails at arrays of two axes
        return {"dtype": "float32", "shape": (math.prod(sensor.full_shape),), "names": None}
    names = [sensor.name] if sensor.shape == (1,) else [f"{sensor.name}.{i}" for i in range(sensor.full_shape[0])]
    return {"dtype": "float32", "shape": sensor.full_shape, "names": names}


def annotation_features(names: Iterable[str]) -> dict[str, dict[str, Any]]:
    """The LeRobot features of words about each frame: one column of strings for each of ``names``."""
    return {ANNOTATION_PREFIX + name: {"dtype": "string", "shape": (1,), "names": None} for name in names}


def annotation_names(features: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """What the frames of a dataset are annotated with, by its LeRobot features."""
    return [
        key.removeprefix(ANNOTATION_PREFIX)
        for key, feature in features.items()
        if key.startswith(ANNOTATION_PREFIX) and feature["dtype"] == "string"
    ]


def element_names(fields: tuple[Field, ...]) -> list[str]:
    """One name for each element of a vector: ``"position.0"``, or ``"gripper"`` for a field of one element."""
    return [f.name if f.size == 1 else f"{f.name}.{i}" for f in fields for i in range(f.size)]


def feature_names(feature: Mapping[str, Any]) -> tuple[str, ...]:
    """The names of a feature's elements, () where it has none."""
    return tuple(flat_names(feature.get("names")))


def is_depth(feature: Mapping[str, Any]) -> bool:
    """Whether a LeRobot feature is a depth map."""
    about = {**(feature.get("video_info") or {}), **(feature.get("info") or {})}  # the former is of format 2.0
    return bool(about.get("is_depth_map") or about.get("video.is_depth_map"))


def camera_keys(features: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """Camera name → feature key, of the colour cameras (depth maps are left out)."""
    keys = {}
    for key, feature in features.items():
        if feature["dtype"] in ("video", "image") and not is_depth(feature):
            keys[key.removeprefix(IMAGE_PREFIX).removeprefix("observation.")] = key
    return keys


def read_mapping(path: Path) -> dict[str, Any]:
    """The mapping in a JSON file of a dataset. Raises :class:`DatasetError` that names the file."""
    try:
        refuse_lfs_pointer(path)
        found = read_json(path)
    except (OSError, ValueError) as error:
        raise DatasetError(f"{path} cannot be read ({error}). Restore it from a copy of the dataset.") from error
    if not isinstance(found, dict):
        raise DatasetError(f"{path} holds no mapping. Restore it from a copy of the dataset.")
    return found


def read_info(root: Path) -> dict[str, Any]:
    """``meta/info.json`` of the dataset at ``root``; raises :class:`DatasetError` where it lacks what is needed of it."""
    path = root / INFO_FILE
    info = read_mapping(path)
    if wrong := _what_is_wrong(info):
        raise DatasetError(f"{path} cannot be used: {wrong}. Restore it from a copy of the dataset.")
    return info


def _what_is_wrong(info: Mapping[str, Any]) -> str | None:
    if not isinstance(info.get("features"), dict):
        return "it has no features"
    for name in ("total_episodes", "total_frames"):
        if not isinstance(info.get(name), int):
            return f"{name} is {info.get(name)!r}, not a whole number"
    rate = info.get("fps")
    if not isinstance(rate, int | float) or not 0 < rate < math.inf:
        return f"fps is {rate!r}, not a positive number"
    for key, feature in info["features"].items():
        if not is_file_name(key):
            return f"the feature {key!r} cannot be a folder's name"
        if not isinstance(feature, dict) or not isinstance(feature.get("dtype"), str):
            return f"the feature {key!r} has no dtype"
        shape, picture = feature.get("shape"), feature["dtype"] in ("video", "image")
        sized = isinstance(shape, list) and bool(shape) and all(isinstance(n, int) and n > 0 for n in shape)
        if (picture or key in (STATE_KEY, ACTION_KEY)) and not (sized and (len(shape or ()) == 3 or not picture)):
            return f"the feature {key!r} has the shape {shape!r}"
    return None


def read_contract(root: Path) -> Contract:
    """The contract of the dataset at ``root``: its own, or one derived from ``meta/info.json``."""
    path = root / CONTRACT_FILE
    if not path.exists():
        derived = derive_contract(read_info(root))
        try:
            check_sizes(derived)
        except ValueError as error:
            raise DatasetError(f"{root / INFO_FILE}: {error}. Restore it from a copy of the dataset.") from error
        return derived
    try:
        return Contract.from_dict(read_mapping(path))
    except ContractMismatch as error:
        raise DatasetError(f"{path}: {error}. Restore it, or remove it to do without.") from error


def derive_contract(info: Mapping[str, Any]) -> Contract:
    """The contract by ``meta/info.json`` alone: camera sizes, vector lengths and the rate; all else is unstated.

    A dataset without states or without actions has a contract without such fields. Arrays are laid out row by row.
    Depth images whose unit is stated are sensors: of uint16 in mm, of float32 in m, which is how LeRobot states units.
    """
    features = info["features"]
    cameras = []
    for name, key in camera_keys(features).items():
        height, width = _height_and_width(features[key])
        cameras.append(Camera(name, height, width))
    sensors = [_depth_sensor(key, feature) for key, feature in features.items() if _depth_unit(key, feature)]
    rate = float(info["fps"])
    if not (math.isfinite(rate) and rate > 0):
        raise DatasetError(f"{INFO_FILE} has fps={rate}, which is not a rate. Restore it from a copy of the dataset.")
    return Contract(
        cameras=tuple(cameras),
        state=(Field("state", math.prod(features[STATE_KEY]["shape"])),) if STATE_KEY in features else (),
        action=(Field("action", math.prod(features[ACTION_KEY]["shape"])),) if ACTION_KEY in features else (),
        rate=rate,
        sensors=tuple(sensors),
    )


def write_contract(root: Path, contract: Contract) -> None:
    """Lay ``contract`` beside the dataset's other metadata."""
    path = root / CONTRACT_FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(contract.to_json() + "\n")


def _depth_unit(key: str, feature: Mapping[str, Any]) -> str | None:
    """The stated unit of depth that is stored without loss, as images."""
    unit = (feature.get("info") or {}).get("depth_unit")
    stored = feature["dtype"] == "image" and key.startswith(IMAGE_PREFIX) and is_depth(feature)
    return unit if stored and unit in ("m", "mm") else None


def _depth_sensor(key: str, feature: Mapping[str, Any]) -> Sensor:
    unit = _depth_unit(key, feature)
    dtype = "uint16" if unit == "mm" else "float32"
    return Sensor(key.removeprefix(IMAGE_PREFIX), DEPTH, _height_and_width(feature), dtype, unit=unit)


def _height_and_width(feature: Mapping[str, Any]) -> tuple[int, int]:
    shape = [int(n) for n in feature["shape"]]
    first = next(flat_names(feature.get("names")), None)
    channels_first = first.startswith("channel") if first else shape[0] in (1, 3)
    return (shape[1], shape[2]) if channels_first else (shape[0], shape[1])


def flat_names(names: Any) -> Iterator[str]:
    """The names of a feature's elements or axes: LeRobot's are a list, or lists by kind, as ``{"motors": [...]}``."""
    if isinstance(names, Mapping):
        names = names.values() if any(isinstance(v, list) for v in names.values()) else names.keys()
    if isinstance(names, str):
        yield names
    elif isinstance(names, Iterable):
        for name in names:
            yield from flat_names(name)
