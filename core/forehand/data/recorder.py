"""Recording episodes so that no finished one is ever lost.

Every episode is first written to a folder of its own below ``<root>/.recording``, and exists from the moment that folder
is renamed to its final name. :mod:`forehand.data.assembly` puts finished episodes together into the dataset. Several
processes may record into one root at the same time, each with a :class:`Recorder` and episode numbers of its own. Torch
and LeRobot are not needed: a robot's computer records as it is.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from forehand.contract import Contract
from forehand.data.locate import STAGING
from forehand.data.video import Encoding, VideoWriter
from forehand.disk import to_disk
from forehand.errors import ContractMismatch, DatasetError
from forehand.robot import Observation

Facts = Mapping[str, str | int | float | bool]

_UNFINISHED = "unfinished-"
_EPISODE = "episode-"
_ABOUT = "episode.json"
_NUMBERS = "numbers.npz"
_SAMPLES = 32  # pixels along the shorter side that statistics look at


@dataclass(frozen=True)
class StagedEpisode:
    """One finished episode that waits to be put together with the others.

    states: (N, S) float32; actions: (N, A) float32; annotations: what about → N words, one a frame; histograms:
    camera → (3, 256) counts of levels by channel.
    """

    index: int
    folder: Path
    instruction: str
    facts: Facts
    states: NDArray[np.float32]
    actions: NDArray[np.float32]
    annotations: Mapping[str, Sequence[str]]
    histograms: Mapping[str, NDArray[np.int64]]
    encoding: Encoding

    def __len__(self) -> int:
        return len(self.states)

    def video(self, camera: str) -> Path:
        """The video of one camera."""
        return self.folder / f"{camera}.mp4"


class Recorder:
    """Writes one episode after another; what is not saved is as if it had never been.

    ::

        recorder = Recorder("data/blocks", robot.contract)
        for each step: recorder.add(observation, action)
        recorder.save(index, "lift the red block", seed=3)
    """

    def __init__(self, root: str | Path, contract: Contract, encoding: Encoding | None = None) -> None:
        self.root, self.contract, self.encoding = Path(root).expanduser(), contract, encoding or Encoding()
        self.rate = whole_rate(contract)
        self._folder: Path | None = None
        self._writers: dict[str, VideoWriter] = {}
        self._histograms: dict[str, NDArray[np.int64]] = {}
        self._states: list[NDArray[np.float32]] = []
        self._actions: list[NDArray[np.float32]] = []
        self._annotations: list[Mapping[str, str]] = []

    def __len__(self) -> int:
        """Frames of the running episode."""
        return len(self._states)

    def add(
        self, observation: Observation, action: NDArray[np.float32], annotations: Mapping[str, str] | None = None
    ) -> None:
        """One control step: what was sensed, and the action (A,) that answers it.

        annotations: words about this frame, such as ``{"phase": "grasp"}``; each becomes a column of the dataset.
        """
        self._check(observation, action)
        with self._giving_up_on_full_disks():
            if self._folder is None:
                self._begin()
            for camera in self.contract.cameras:
                pixels = observation.images[camera.name]
                self._writers[camera.name].write(pixels)
                stride = max(1, min(camera.height, camera.width) // _SAMPLES)
                self._histograms[camera.name] += [
                    np.bincount(pixels[::stride, ::stride, channel].ravel(), minlength=256) for channel in range(3)
                ]
        self._states.append(np.array(observation.state, np.float32))
        self._actions.append(np.array(action, np.float32))
        self._annotations.append(dict(annotations or {}))

    def save(self, index: int, instruction: str, **facts: str | int | float | bool) -> None:
        """Finish the episode: from here on, it is kept. ``facts`` are noted beside it (seed, task, …)."""
        if self._folder is None:
            raise DatasetError(f"Episode {index} has no frames, so it cannot be saved.")
        final = staging(self.root) / f"{_EPISODE}{index:06d}"
        if final.exists():
            raise DatasetError(f"Episode {index} was recorded before, in {final}. Save this one under another number.")
        about = {
            "instruction": instruction,
            "facts": facts,
            "encoding": asdict(self.encoding),
            "annotations": self._by_column(),
            "histograms": {camera: h.tolist() for camera, h in self._histograms.items()},
        }
        with self._giving_up_on_full_disks():
            for writer in self._writers.values():
                writer.close()
            np.savez(self._folder / _NUMBERS, states=np.stack(self._states), actions=np.stack(self._actions))
            (self._folder / _ABOUT).write_text(json.dumps(about))
            for file in self._folder.iterdir():
                to_disk(file)
            os.replace(self._folder, final)
            to_disk(final.parent)
        self._forget()

    def discard(self) -> None:
        """Drop the episode; harmless if there is none."""
        for writer in self._writers.values():
            writer.abandon()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
        self._forget()

    @contextmanager
    def _giving_up_on_full_disks(self) -> Iterator[None]:
        """Whatever cannot be written ends the running episode, and only that one."""
        try:
            yield
        except OSError as error:
            self.discard()
            raise DatasetError(
                f"The running episode could not be written to {self.root}, and is dropped: {error}. Episodes that were "
                f"saved are kept; make room, and go on."
            ) from error

    def _begin(self) -> None:
        folder = staging(self.root)
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = Path(tempfile.mkdtemp(prefix=_UNFINISHED, dir=folder))
        for camera in self.contract.cameras:
            path = self._folder / f"{camera.name}.mp4"
            self._writers[camera.name] = VideoWriter(path, self.rate, camera.height, camera.width, self.encoding)
            self._histograms[camera.name] = np.zeros((3, 256), np.int64)

    def _forget(self) -> None:
        self._folder = None
        self._writers, self._histograms, self._states, self._actions, self._annotations = {}, {}, [], [], []

    def _by_column(self) -> dict[str, list[str]]:
        names = dict.fromkeys(name for words in self._annotations for name in words)
        return {name: [words.get(name, "") for words in self._annotations] for name in names}

    def _check(self, observation: Observation, action: NDArray[np.float32]) -> None:
        for camera in self.contract.cameras:
            if camera.name not in observation.images:
                raise ContractMismatch(f"The contract has a camera {camera.name!r}, but the observation does not.")
            pixels = observation.images[camera.name]
            if pixels.shape != (camera.height, camera.width, 3) or pixels.dtype != np.uint8:
                raise ContractMismatch(
                    f"Camera {camera.name!r} is to give uint8 {(camera.height, camera.width, 3)} by the contract, but "
                    f"gave {pixels.dtype} {pixels.shape}."
                )
        for name, vector, size in (
            ("state", observation.state, self.contract.state_size),
            ("action", action, self.contract.action_size),
        ):
            if np.shape(vector) != (size,):
                raise ContractMismatch(f"The {name} has {size} elements by the contract, but shape {np.shape(vector)}.")


def whole_rate(contract: Contract) -> int:
    """The control rate, which LeRobot's format needs to be a whole number of Hz."""
    if contract.rate != int(contract.rate) or contract.rate < 1:
        raise DatasetError(f"LeRobotDataset needs a whole number of frames a second, not {contract.rate} Hz.")
    return int(contract.rate)


def staging(root: Path) -> Path:
    """Where episodes wait."""
    return root / STAGING


def staged(root: Path) -> dict[int, Path]:
    """Finished episodes that wait at ``root``: index → folder."""
    return {
        int(folder.name.removeprefix(_EPISODE)): folder
        for folder in sorted(staging(root).glob(f"{_EPISODE}*"))
        if folder.is_dir()
    }


def read_staged(index: int, folder: Path) -> StagedEpisode:
    """Read one of them, its videos excepted."""
    about: dict[str, Any] = json.loads((folder / _ABOUT).read_text())
    with np.load(folder / _NUMBERS) as numbers:
        return StagedEpisode(
            index=index,
            folder=folder,
            instruction=about["instruction"],
            facts=about["facts"],
            states=numbers["states"],
            actions=numbers["actions"],
            annotations=about["annotations"],
            encoding=Encoding(**about["encoding"]),
            histograms={camera: np.array(h) for camera, h in about["histograms"].items()},
        )


def remove_unfinished(root: Path) -> None:
    """Remove what killed recorders left behind. Only while nobody records at ``root``."""
    for folder in staging(root).glob(f"{_UNFINISHED}*"):
        shutil.rmtree(folder, ignore_errors=True)
