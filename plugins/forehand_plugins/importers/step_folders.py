"""Step folders as Seer's preprocessing leaves them: for each control step two JPEG files and one HDF5 file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from forehand import Camera, Contract, Field
from forehand.contracts.orientation import ORIENTATIONS
from forehand.data.importing.faults import first_readable
from forehand.data.importing.importer import EpisodeContent, Importer, Picture, SourceEpisode, Step
from forehand.data.importing.pictures import decode_picture
from forehand.data.importing.source_files import natural, readable, source_path
from forehand.data.importing.statements import Statements
from forehand.errors import ConfigurationError, DatasetError, nearest
from forehand_plugins.importers import osc
from forehand_plugins.importers.hdf5 import opened

CAMERAS = {"primary": "image_primary.jpg", "wrist": "image_wrist.jpg"}
KEYS = {
    "pose": "position and rotation of the tool, 6 numbers",
    "gripper": "state of the gripper",
    "action": "motion and gripper command, 7 numbers",
    "instruction": "the sentence, or a list of several",
}
"""What of a step's HDF5 file is read → what it is."""


@dataclass(frozen=True)
class Platform:
    """What the numbers of one platform mean.

    scale: metres and radians that become 1 for training; None where actions are recorded so. orientation: of pictures.
    """

    rate: float
    rotation: str | None
    gripper: Field
    action: tuple[Field, ...]
    origin: str
    scale: tuple[float, float] | None = None
    orientation: str | None = None


def _taught() -> Platform:
    low, high = (-1.0,) * 3, (1.0,) * 3
    motion = (
        Field("position", 3, unit="0.02 m", frame="end_effector", mode="delta", low=low, high=high),
        Field("rotation", 3, unit="0.05 rad", frame="end_effector", mode="delta", low=low, high=high),
        Field("gripper", 1, gripper="open", low=(-1.0,), high=(1.0,)),
    )
    state = Field("gripper", 1, gripper="open", low=(-1.0,), high=(1.0,))
    return Platform(15.0, "euler_xyz_extrinsic", state, motion, "Seer's preprocessing", scale=(0.02, 0.05))


PLATFORMS: Mapping[str, Platform] = {
    "libero": Platform(
        20.0,
        "axis_angle",  # although Seer reads it as Euler angles
        Field("gripper", 2, unit="m"),
        osc.arm_fields("delta", (0.05, 0.5), "world"),
        "LIBERO's format",
        orientation="flipped_vertically",
    ),
    "droid": _taught(),
    "real": _taught(),
}


class StepFoldersImporter(Importer):
    """The folder ``source`` with ``episodes/<number>/steps/<number>/``, or any that has folders with steps.

    platform: which of :data:`PLATFORMS`. keys: what of each step's HDF5 file is read (:data:`KEYS`), by its path in the
    file. cameras: name → file. numbers: the HDF5 file. orientation: of all pictures. scaled: whether motions are already
    divided by the platform's scale; those in m and rad are divided here, and clipped to ±1 as for training.
    """

    def __init__(
        self,
        source: str,
        platform: str | None = None,
        keys: Mapping[str, Any] | None = None,
        cameras: Mapping[str, str] | None = None,
        numbers: str = "other.h5",
        orientation: str | None = None,
        scaled: bool | None = None,
    ) -> None:
        self._root, self._numbers = source_path(source), numbers
        self._cameras = dict(CAMERAS if cameras is None else cameras)
        self._steps = _steps_by_episode(self._root, numbers, tuple(self._cameras.values()))
        self.statements = statements = Statements("step_folders")
        statements.ask("platform", platform, "what the numbers mean", tuple(PLATFORMS))
        firsts = [steps[0] for steps in self._steps.values()]
        there = ", ".join(first_readable(firsts, lambda step: _contents(step / numbers))[1])
        self._keys = {
            name: statements.ask(f"keys.{name}", (keys or {}).get(name), f"{meaning}; {numbers} has {there}")
            for name, meaning in KEYS.items()
        }
        known = PLATFORMS.get(platform or "")
        if known is None or known.orientation is None:
            statements.ask("orientation", orientation, "how all pictures lie", tuple(ORIENTATIONS))
        if known is None or known.scale is not None:
            statements.ask("scaled", scaled, "whether motions are divided by their scale already", (True, False))
        statements.require()
        if unknown := set(keys or {}) - set(KEYS):
            raise ConfigurationError(f"keys has {min(unknown)!r}. {nearest(min(unknown), KEYS)}")
        self._platform = PLATFORMS[str(platform)]
        self._scale = None if scaled or self._platform.scale is None else self._platform.scale
        how = orientation or self._platform.orientation or "upright"
        self.orientation = dict.fromkeys(self._cameras, how)
        _, self.contract = first_readable(firsts, self._contract)
        self._know(how, stated=orientation is not None)

    def episodes(self) -> Sequence[SourceEpisode]:
        """See :meth:`Importer.episodes`."""
        return [SourceEpisode(name, len(steps), name) for name, steps in self._steps.items()]

    def files(self) -> Sequence[Path]:
        """The first and the last step of each episode."""
        ends = [step / self._numbers for steps in self._steps.values() for step in (steps[0], steps[-1])]
        return list(dict.fromkeys(ends))

    def read(self, episode: SourceEpisode) -> EpisodeContent:
        """See :meth:`Importer.read`."""
        steps = self._steps[episode.about]
        sentences = [s for s in _values(steps[0] / self._numbers, self._sentence_keys()) if s]
        more = {f"instruction_{i}": s for i, s in enumerate(sentences[1:], start=2)}
        return EpisodeContent(self._read_steps(steps, more), sentences[0] if sentences else "")

    def _read_steps(self, steps: Sequence[Path], annotations: Mapping[str, str]) -> Iterator[Step]:
        for step in steps:
            images: dict[str, Picture] = {name: self._picture(step, file) for name, file in self._cameras.items()}
            pose, gripper, action = (
                np.asarray(value, np.float64).reshape(-1)
                for value in _values(step / self._numbers, [self._keys[name] for name in ("pose", "gripper", "action")])
            )
            yield Step(images, np.concatenate([pose, gripper]), self._scaled(action), annotations=annotations)

    def _scaled(self, action: NDArray[np.float64]) -> NDArray[np.float64]:
        if self._scale is None:
            return action
        divisor = np.repeat(self._scale, 3)
        return np.concatenate([np.clip(action[:6] / divisor, -1, 1), action[6:]])

    def _picture(self, step: Path, file: str) -> bytes:
        with readable(step / file):
            return (step / file).read_bytes()

    def _contract(self, first: Path) -> Contract:
        cameras = []
        for name, file in self._cameras.items():
            height, width, _ = decode_picture(self._picture(first, file)).shape
            cameras.append(Camera(name, height, width, role="wrist" if "wrist" in file else "static"))
        gripper = np.size(_values(first / self._numbers, [self._keys["gripper"]])[0])
        frame = "world" if self._platform.scale is None else "base"
        state = (
            Field("position", 3, unit="m", frame=frame, mode="absolute"),
            Field("rotation", 3, unit="rad", frame=frame, rotation=self._platform.rotation, mode="absolute"),
            self._platform.gripper if gripper == self._platform.gripper.size else Field("gripper", gripper),
        )
        return Contract(tuple(cameras), state, self._platform.action, self._platform.rate)

    def _sentence_keys(self) -> list[str]:
        key = self._keys["instruction"]
        return [key] if isinstance(key, str) else list(key)

    def _know(self, orientation: str, stated: bool) -> None:
        know, origin = self.statements.know, self._platform.origin
        know("rate", self._platform.rate, origin)
        know("state rotation", self._platform.rotation, origin)
        know("action units", ", ".join(f.unit or "1" for f in self._platform.action), origin)
        know("gripper command", f"larger is {self._platform.action[-1].gripper}", origin)
        if not stated:
            know("orientation", orientation, origin)


def _steps_by_episode(root: Path, numbers: str, pictures: Sequence[str]) -> dict[str, list[Path]]:
    """Episode → its folders of steps, in the order of their numbers; those, too, that lack one of their files."""
    steps = {file.parent for file in root.rglob(numbers)}
    if steps:
        steps |= {file.parent for name in pictures for file in root.rglob(name)}
    found: dict[str, list[Path]] = {}
    for step in steps:
        episode = step.parent.parent if step.parent.name == "steps" else step.parent
        found.setdefault(episode.relative_to(root).as_posix(), []).append(step)
    if not found:
        raise DatasetError(f"There is no {numbers} in {root.absolute()} or below it. Correct source=… or numbers=….")
    return {name: sorted(found[name], key=lambda step: natural(step.name)) for name in sorted(found, key=natural)}


def _contents(path: Path) -> list[str]:
    """The paths of all datasets in an HDF5 file."""
    names: list[str] = []
    with opened(path) as file:
        file.visititems(lambda name, node: names.append(name) if hasattr(node, "dtype") else None)
    return names


def _values(path: Path, keys: Sequence[str]) -> list[Any]:
    """The datasets ``keys`` of an HDF5 file; words as str."""
    with opened(path) as file:
        missing = [key for key in keys if key not in file]
        values = [file[key][()] for key in keys if key in file]
    if missing:
        raise DatasetError(f"{path} has no {missing[0]!r}. {nearest(missing[0], _contents(path))}")
    return [v.decode() if isinstance(v, bytes) else v for v in values]
