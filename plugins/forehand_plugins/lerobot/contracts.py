"""Contract of a LeRobot policy, by its features and by the dataset that it was trained on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from forehand.contracts.contract import Camera, Contract, Field
from forehand.data.features import INFO_FILE
from forehand.data.features import read_contract as read_dataset_contract
from forehand.errors import ConfigurationError
from forehand_plugins.lerobot.configuration import ACTION_KEY, IMAGE_PREFIX, STATE_KEY


def camera_keys(config: Any) -> dict[str, str]:
    """Camera → key of the policy's input: ``observation.images.top`` is the camera ``top``."""
    return {key.removeprefix(IMAGE_PREFIX).removeprefix("observation."): key for key in config.image_features}


def read_contract(config: Any, training: Mapping[str, Any], rate: float | None) -> Contract:
    """The contract of a policy with ``config``, whose ``train_config.json`` holds ``training``.

    Where the training's dataset is on this computer, that states names, units and the rate; otherwise state and action
    are one field each, with nothing stated, and ``rate`` must be given. Raises :class:`ConfigurationError`.
    """
    inputs, outputs = config.input_features or {}, config.output_features or {}
    others = [key for key in inputs if key != STATE_KEY and key not in config.image_features]
    if others or ACTION_KEY not in outputs:
        odd = f"its inputs hold {others[0]!r}" if others else f"it has no output {ACTION_KEY!r}"
        raise ConfigurationError(f"{odd}. Forehand's observations are images, a state and an instruction, and it acts.")
    cameras = tuple(Camera(name, *_size(config, key)) for name, key in camera_keys(config).items())
    sizes = {key: int(feature.shape[0]) for key, feature in {**inputs, **outputs}.items() if len(feature.shape) == 1}
    stated = _dataset_contract(training)
    if stated is not None and _fits(stated, cameras, sizes):
        known = {camera.name: camera for camera in stated.cameras}
        state = stated.state if STATE_KEY in inputs else ()
        cameras = tuple(known[camera.name] for camera in cameras)
        return replace(stated, cameras=cameras, state=state, rate=rate or stated.rate)
    rate = rate or (stated.rate if stated is not None else (training.get("env") or {}).get("fps"))
    if rate is None:
        named = (training.get("dataset") or {}).get("repo_id")
        where = f"its dataset {named!r} is not on this computer" if named else "it names no dataset"
        raise ConfigurationError(f"it states no control rate, and {where}. Give it in Hz: policy.rate=30")
    return Contract(
        cameras=cameras,
        state=(Field("state", sizes[STATE_KEY]),) if STATE_KEY in inputs else (),
        action=(Field("action", sizes[ACTION_KEY]),),
        rate=float(rate),
    )


def _size(config: Any, key: str) -> tuple[int, int]:
    shape = config.image_features[key].shape
    if len(shape) != 3 or shape[0] != 3:
        raise ConfigurationError(f"its input {key!r} has the shape {tuple(shape)}; colour images are (3, height, width).")
    return int(shape[1]), int(shape[2])


def _dataset_contract(training: Mapping[str, Any]) -> Contract | None:
    """The contract of the dataset that ``training`` names, where it is on this computer."""
    from lerobot.utils.constants import HF_LEROBOT_HOME

    dataset = training.get("dataset") or {}
    named = [dataset.get("root"), HF_LEROBOT_HOME / str(dataset["repo_id"]) if dataset.get("repo_id") else None]
    for root in (Path(place) for place in named if place):
        if (root / INFO_FILE).is_file():
            return read_dataset_contract(root)
    return None


def _fits(stated: Contract, cameras: tuple[Camera, ...], sizes: Mapping[str, int]) -> bool:
    """Whether the dataset's cameras and vectors are those of the policy."""
    known = {camera.name: (camera.height, camera.width) for camera in stated.cameras}
    seen = all(known.get(camera.name) == (camera.height, camera.width) for camera in cameras)
    return (
        seen and stated.action_size == sizes[ACTION_KEY] and sizes.get(STATE_KEY, stated.state_size) == stated.state_size
    )
