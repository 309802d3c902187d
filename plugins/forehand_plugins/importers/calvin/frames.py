"""One frame of CALVIN: pictures, measurements and actions of an npz file, and the contract they follow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from forehand import Camera, Contract, Field, Sensor
from forehand.data.importing.importer import Picture, Step
from forehand.data.importing.source_files import readable
from forehand.errors import DatasetError, nearest

RATE = 30.0
EULER = "euler_xyz_extrinsic"

STATE: Mapping[str, tuple[slice, Field]] = {
    "position": (slice(0, 3), Field("position", 3, unit="m", frame="world", mode="absolute")),
    "rotation": (slice(3, 6), Field("rotation", 3, unit="rad", frame="world", rotation=EULER, mode="absolute")),
    "gripper_width": (slice(6, 7), Field("gripper_width", 1, unit="m", gripper="open")),
    "joints": (slice(7, 14), Field("joints", 7, unit="rad", mode="absolute")),
    "gripper": (slice(14, 15), Field("gripper", 1, gripper="open", low=(-1.0,), high=(1.0,))),
}
"""Name in the contract → its place in ``robot_obs`` (15), and the field. ``gripper`` is the last command."""

_GRIPPER = Field("gripper", 1, gripper="open", low=(-1.0,), high=(1.0,))
_LOW, _HIGH = (-1.0,) * 3, (1.0,) * 3

ACTIONS: Mapping[str, tuple[Field, ...]] = {
    "rel_actions": (
        Field("position", 3, unit="0.02 m", frame="world", mode="delta", low=_LOW, high=_HIGH),
        Field("rotation", 3, unit="0.05 rad", frame="world", rotation=EULER, mode="delta", low=_LOW, high=_HIGH),
        _GRIPPER,
    ),
    "actions": (
        Field("position", 3, unit="m", frame="world", mode="absolute"),
        Field("rotation", 3, unit="rad", frame="world", rotation=EULER, mode="absolute"),
        _GRIPPER,
    ),
}
"""Name of the array → the fields of the action (7)."""


@dataclass(frozen=True)
class FrameLayout:
    """What is taken of each frame.

    cameras: name → array of uint8 pictures. state: names of :data:`STATE`. actions: name in :data:`ACTIONS`. depth: name
    → array of depths in ``depth_unit``. tactile: whether the two tactile pictures are taken, as cameras. scene: whether
    ``scene_obs`` is taken, as a sensor.
    """

    cameras: Mapping[str, str]
    state: Sequence[str]
    actions: str
    depth: Mapping[str, str]
    depth_unit: str | None
    tactile: bool
    scene: bool

    def contract(self, first: Mapping[str, NDArray[Any]]) -> Contract:
        """The contract of frames like ``first``."""
        keys = {**self.cameras, **(dict.fromkeys(TACTILE, "rgb_tactile") if self.tactile else {})}
        cameras = [Camera(n, first[k].shape[0], first[k].shape[1], role=_role(k)) for n, k in keys.items()]
        sensors = [
            Sensor(name, "depth", first[key].shape, "float32", unit=self.depth_unit, role=_role(key))
            for name, key in self.depth.items()
        ]
        if self.scene:
            sensors.append(Sensor("scene", "vector", first["scene_obs"].shape, "float32"))
        state = tuple(STATE[name][1] for name in self.state)
        return Contract(tuple(cameras), state, ACTIONS[self.actions], RATE, tuple(sensors))

    def step(self, frame: Mapping[str, NDArray[Any]]) -> Step:
        """The control step of a frame: CALVIN measures before it acts."""
        images: dict[str, Picture] = {name: frame[key] for name, key in self.cameras.items()}
        if self.tactile:
            images |= {name: frame["rgb_tactile"][..., 3 * i : 3 * i + 3] for i, name in enumerate(TACTILE)}
        sensors = {name: np.asarray(frame[key], np.float32) for name, key in self.depth.items()}
        if self.scene:
            sensors["scene"] = np.asarray(frame["scene_obs"], np.float32)
        state = np.concatenate([frame["robot_obs"][STATE[name][0]] for name in self.state])
        return Step(images, state, frame[self.actions], sensors)

    def arrays(self) -> list[str]:
        """The names of the arrays that are read of each file."""
        names = ["robot_obs", self.actions, *self.cameras.values(), *self.depth.values()]
        return names + ["rgb_tactile"] * self.tactile + ["scene_obs"] * self.scene


TACTILE = ("tactile_0", "tactile_1")
"""Cameras of the six channels of ``rgb_tactile``."""


def frame_path(folder: Path, number: int) -> Path:
    """The file of a frame."""
    return folder / f"episode_{number:07d}.npz"


def read_frame(path: Path, names: Sequence[str]) -> dict[str, NDArray[Any]]:
    """The arrays ``names`` of a frame; raises :class:`DatasetError` naming what is missing."""
    with readable(path), np.load(path, allow_pickle=False) as file:
        if missing := [name for name in names if name not in file.files]:
            raise DatasetError(f"{path} has no array {missing[0]!r}. {nearest(missing[0], file.files)}")
        return {name: _array(path, name, file[name]) for name in names}


def _array(path: Path, name: str, array: NDArray[Any]) -> NDArray[Any]:
    """``array``; raises :class:`DatasetError` for what are no pictures (H, W, C) uint8, or no numbers."""
    picture = name.startswith("rgb_")
    if array.dtype != np.uint8 or array.ndim != 3 if picture else array.dtype.kind not in "fiu" or not array.ndim:
        due = "pictures (H, W, C) uint8" if picture else "numbers"
        raise DatasetError(f"{path}: the array {name!r} is {array.dtype} {array.shape}, and {due} are due.")
    return array


def _role(key: str) -> str:
    return "static" if key.endswith("_static") else "wrist"
