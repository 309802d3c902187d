"""Crash-safe episode recorder.

Every episode is first written to a folder of its own below ``<root>/.recording``, and exists from the moment that folder
is renamed to its final name. :mod:`forehand.data.recording.commit` puts finished episodes together into the dataset.
Several processes may record into one root at the same time, each with a :class:`Recorder` and episode numbers of its own.
Torch and LeRobot are not needed: a robot's computer records as it is.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from forehand.contracts.contract import Contract
from forehand.contracts.sensor import RGB
from forehand.control.finite import require_finite, require_sensors
from forehand.data.features import read_mapping
from forehand.data.lerobot.locate import STAGING
from forehand.data.lerobot.sensors import require_codecs
from forehand.data.reading import is_file_name
from forehand.data.recording.requirements import integer_rate, require_recordable
from forehand.data.recording.sensor_files import ImageWriter, SensorWriter
from forehand.errors import ContractMismatch, DatasetError
from forehand.robot import Observation
from forehand.utils.files import fsync_path
from forehand.utils.plain import to_plain
from forehand.utils.video import Encoding, VideoWriter

Facts = Mapping[str, str | int | float | bool]

_UNFINISHED = "unfinished-"
_EPISODE = "episode-"
_ABOUT = "episode.json"
_NUMBERS = "numbers.npz"
_LENGTHS = "lengths/"
_SENSOR_FILE = ".frames"
_SAMPLES = 32  # pixels along the shorter side that statistics look at


@dataclass(frozen=True)
class StagedEpisode:
    """One finished episode that waits to be put together with the others.

    states: (N, S) float32; actions: (N, A) float32; annotations: what about → N words, one a frame; histograms:
    camera → (3, 256) counts of levels by channel; encoding: of videos, None where images are kept as files; lengths:
    sensor, or camera whose images are files → (N,) bytes of each frame in its file; sensor_statistics: those of each
    sensor whose file is no column of numbers.
    """

    index: int
    folder: Path
    instruction: str
    facts: Facts
    states: NDArray[np.float32]
    actions: NDArray[np.float32]
    annotations: Mapping[str, Sequence[str]]
    histograms: Mapping[str, NDArray[np.int64]]
    encoding: Encoding | None
    lengths: Mapping[str, NDArray[np.int64]] = field(default_factory=dict)
    sensor_statistics: Mapping[str, Mapping[str, NDArray[Any]]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.states)

    def video(self, camera: str) -> Path:
        """The video of one camera."""
        return self.folder / f"{camera}.mp4"

    def sensor_file(self, sensor: str) -> Path:
        """The frames of a sensor, or of a camera without video (:mod:`forehand.data.recording.sensor_files`)."""
        return self.folder / f"{sensor}{_SENSOR_FILE}"


class Recorder:
    """Writes one episode after another; what is not saved is as if it had never been.

    images: keep each image as a file, PNG or as it is given, instead of videos with ``encoding``::

        recorder = Recorder("data/blocks", robot.contract)
        for each step: recorder.add(observation, action)
        recorder.save(index, "lift the red block", seed=3)
    """

    def __init__(
        self, root: str | Path, contract: Contract, encoding: Encoding | None = None, *, images: bool = False
    ) -> None:
        self.root, self.contract = Path(root).expanduser(), contract
        self.encoding = None if images else encoding or Encoding()
        require_recordable(contract, self.encoding)
        self.rate = integer_rate(contract)
        for observed in contract.observed:
            if not is_file_name(observed.name):
                kind = "camera" if observed.kind == RGB else "sensor"
                raise DatasetError(f"A {kind} that is recorded cannot be named {observed.name!r}: it names files.")
        require_codecs(contract.sensors, images)
        self._folder: Path | None = None
        self._writers: dict[str, VideoWriter] = {}
        self._sensors: dict[str, SensorWriter] = {}
        self._images: dict[str, ImageWriter] = {}
        self._histograms: dict[str, NDArray[np.int64]] = {}
        self._states: list[NDArray[np.float32]] = []
        self._actions: list[NDArray[np.float32]] = []
        self._annotations: list[Mapping[str, str]] = []

    def __len__(self) -> int:
        """Frames of the running episode."""
        return len(self._states)

    def add(
        self,
        observation: Observation,
        action: NDArray[np.float32],
        annotations: Mapping[str, str] | None = None,
        files: Mapping[str, bytes] | None = None,
    ) -> None:
        """One control step: what was sensed, and the action (A,) that answers it; raises :class:`NotFinite`.

        annotations: words about this frame, such as ``{"phase": "grasp"}``; each becomes a column of the dataset. files:
        camera → JPEG or PNG file of its image, to be kept as it is where images are kept.
        """
        self._check(observation, action)
        with self._full_disk_errors():
            if self._folder is None:
                self._open_files()
            for camera in self.contract.cameras:
                pixels = observation.images[camera.name]
                if self.encoding is None:
                    self._images[camera.name].write(pixels, (files or {}).get(camera.name))
                else:
                    self._writers[camera.name].write(pixels)
                stride = max(1, min(camera.height, camera.width) // _SAMPLES)
                self._histograms[camera.name] += [
                    np.bincount(pixels[::stride, ::stride, channel].ravel(), minlength=256) for channel in range(3)
                ]
            for name, sensor in self._sensors.items():
                sensor.write(observation.sensors[name])
        self._states.append(np.array(observation.state, np.float32))
        self._actions.append(np.array(action, np.float32))
        self._annotations.append(dict(annotations or {}))

    def save(self, index: int, instruction: str, **facts: str | int | float | bool) -> None:
        """Finish the episode: from here on, it is kept. ``facts`` are noted beside it (seed, task, …)."""
        if self._folder is None:
            raise DatasetError(f"Episode {index} has no frames, so it cannot be saved.")
        final = staging_folder(self.root) / f"{_EPISODE}{index:06d}"
        if final.exists():
            raise DatasetError(f"Episode {index} was recorded before, in {final}. Save this one under another number.")
        about = {
            "instruction": instruction,
            "facts": facts,
            "encoding": None if self.encoding is None else asdict(self.encoding),
            "annotations": self._by_column(),
            "histograms": {camera: h.tolist() for camera, h in self._histograms.items()},
        }
        statistics = {name: sensor.statistics() for name, sensor in self._sensors.items()}
        if self._sensors:
            about["sensor_statistics"] = to_plain({name: s for name, s in statistics.items() if s is not None})
        written: dict[str, SensorWriter | ImageWriter] = {**self._sensors, **self._images}
        lengths: dict[str, Any] = {_LENGTHS + name: np.array(writer.lengths) for name, writer in written.items()}
        with self._full_disk_errors():
            for writer in self._writers.values():
                writer.close()
            for frames in written.values():
                frames.close()
            states, actions = np.stack(self._states), np.stack(self._actions)
            np.savez(self._folder / _NUMBERS, states=states, actions=actions, **lengths)
            (self._folder / _ABOUT).write_text(json.dumps(about))
            for file in self._folder.iterdir():
                fsync_path(file)
            os.replace(self._folder, final)
            fsync_path(final.parent)
        self._clear()

    def discard(self) -> None:
        """Drop the episode; harmless if there is none."""
        for writer in self._writers.values():
            writer.abandon()
        for sensor in self._sensors.values():
            sensor.abandon()
        for images in self._images.values():
            images.abandon()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
        self._clear()

    @contextmanager
    def _full_disk_errors(self) -> Iterator[None]:
        """Whatever cannot be written ends the running episode, and only that one."""
        try:
            yield
        except OSError as error:
            self.discard()
            raise DatasetError(
                f"The running episode could not be written to {self.root}, and is dropped: {error}. Episodes that were "
                f"saved are kept; make room, and continue."
            ) from error

    def _open_files(self) -> None:
        folder = staging_folder(self.root)
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = Path(tempfile.mkdtemp(prefix=_UNFINISHED, dir=folder))
        for camera in self.contract.cameras:
            if self.encoding is None:
                self._images[camera.name] = ImageWriter(self._folder / f"{camera.name}{_SENSOR_FILE}")
            else:
                path = self._folder / f"{camera.name}.mp4"
                self._writers[camera.name] = VideoWriter(path, self.rate, camera.height, camera.width, self.encoding)
            self._histograms[camera.name] = np.zeros((3, 256), np.int64)
        for sensor in self.contract.sensors:
            self._sensors[sensor.name] = SensorWriter(self._folder / f"{sensor.name}{_SENSOR_FILE}", sensor)

    def _clear(self) -> None:
        self._folder = None
        self._writers, self._sensors, self._images, self._histograms = {}, {}, {}, {}
        self._states, self._actions, self._annotations = [], [], []

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
        require_sensors(observation, self.contract)
        require_finite("The state to be recorded", observation.state, self.contract.state)
        require_finite("The action to be recorded", action, self.contract.action)


def staging_folder(root: Path) -> Path:
    """Where episodes wait."""
    return root / STAGING


def staged_episodes(root: Path) -> dict[int, Path]:
    """Finished episodes that wait at ``root``: index → folder."""
    return {
        int(folder.name.removeprefix(_EPISODE)): folder
        for folder in sorted(staging_folder(root).glob(f"{_EPISODE}*"))
        if folder.is_dir()
    }


def read_staged(index: int, folder: Path) -> StagedEpisode:
    """Read one of them, its videos and its sensors' files excepted."""
    about = read_mapping(folder / _ABOUT)
    with np.load(folder / _NUMBERS) as numbers:
        return StagedEpisode(
            index=index,
            folder=folder,
            instruction=about["instruction"],
            facts=about["facts"],
            states=numbers["states"],
            actions=numbers["actions"],
            annotations=about["annotations"],
            encoding=None if about["encoding"] is None else Encoding(**about["encoding"]),
            histograms={camera: np.array(h) for camera, h in about["histograms"].items()},
            lengths={n.removeprefix(_LENGTHS): numbers[n] for n in numbers.files if n.startswith(_LENGTHS)},
            sensor_statistics={
                name: {key: np.array(v) for key, v in values.items()}
                for name, values in about.get("sensor_statistics", {}).items()
            },
        )


def remove_unfinished(root: Path) -> None:
    """Remove the unfinished episodes of killed recorders. Only within :func:`recording_lock`."""
    for folder in staging_folder(root).glob(f"{_UNFINISHED}*"):
        shutil.rmtree(folder, ignore_errors=True)
