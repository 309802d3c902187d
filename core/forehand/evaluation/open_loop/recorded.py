"""Recorded observations: the frames of a dataset's episodes, as a robot would have sensed them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from forehand.contracts.contract import Contract
from forehand.data.dataset import Dataset
from forehand.data.features import ANNOTATION_PREFIX
from forehand.data.source import DataSource, WrappedSource
from forehand.robot import Observation

ANNOTATED_TASK = ANNOTATION_PREFIX + "task"

_AT_ONCE = 32


class RecordedEpisodes:
    """The E episodes of ``data``, by their position, with the cameras and sensors of ``needed``, a policy's contract.

    starts: (E + 1,), the first frame of each, and N.
    """

    def __init__(self, data: Dataset, needed: Contract) -> None:
        self.data, self.needed = data, needed
        data.require_cameras([camera.name for camera in needed.cameras], [sensor.name for sensor in needed.sensors])
        self.starts = data.episodes.starts
        self._kinds: dict[Path, tuple[NDArray[np.int64], tuple[str, ...]]] = {}

    def __len__(self) -> int:
        return len(self.starts) - 1

    def task(self, position: int) -> str:
        """The instruction of an episode; "" without one."""
        table = self.data.episodes
        return table.tasks[table.instructions[self.starts[position]]]

    def kind(self, position: int) -> str:
        """The name of the task that an episode's last frame is annotated with, whatever is said; "" without one."""
        source, frames = self.recorded_frames(position)
        if ANNOTATED_TASK not in source.columns:
            return ""
        if source.root not in self._kinds:
            self._kinds[source.root] = source.words(ANNOTATED_TASK)
        numbers, names = self._kinds[source.root]
        return names[numbers[frames[-1]]]

    def rows(self, position: int) -> slice:
        """The frames of an episode among all of the dataset."""
        return slice(int(self.starts[position]), int(self.starts[position + 1]))

    def origin(self, position: int) -> tuple[int, int]:
        """The number of an episode's source, and that of the episode there."""
        number = self._source_number(position)
        row = int(self.starts[position] - self.data.first_frames[number])
        return number, int(self.data.sources[number].episodes.episode[row])

    def recorded_frames(self, position: int) -> tuple[DataSource, NDArray[np.int64]]:
        """The source as it was recorded, and the numbers of an episode's frames there."""
        number = self._source_number(position)
        return recorded(self.data.sources[number], self._rows_in_source(position))

    def why_not(self, position: int) -> str | None:
        """Why a policy cannot be given the episode, or None where it can."""
        if not self.data.episodes.has_action[self.rows(position)].any():
            return "no recorded actions"
        return self.why_not_seen(position)

    def why_not_seen(self, position: int) -> str | None:
        """Why a policy cannot observe the episode, or None where it can."""
        rows, table = self.rows(position), self.data.episodes
        if self.needed.state and table.has_state is not None and not table.has_state[rows].all():
            return "states that were not measured"
        absent = self.data.sources[self._source_number(position)].absent_cameras
        lacking = [camera.name for camera in self.needed.cameras if camera.name in absent]
        return f"no camera {lacking[0]!r}" if lacking else None

    def observations(self, position: int) -> Iterator[Observation]:
        """What was sensed at each frame of an episode, in order; raises :class:`DatasetError` for damaged images."""
        source, rows = self.data.sources[self._source_number(position)], self._rows_in_source(position)
        frames = rows if source.frame_numbers is None else source.frame_numbers[rows]
        cameras = {camera.name: source.pictures(camera.name) for camera in self.needed.cameras}
        felt = {s.name: s for s in self.data.contract.sensors if s.name in {one.name for one in self.needed.sensors}}
        sensors = {name: source.sensor(sensor) for name, sensor in felt.items()}
        states = self.data.episodes.states[self.rows(position)]
        for first in range(0, len(frames), _AT_ONCE):
            some = frames[first : first + _AT_ONCE]
            images = {name: pictures.read(some) for name, pictures in cameras.items()}
            values = {name: reader[some] for name, reader in sensors.items()}
            for i in range(len(some)):
                yield Observation(
                    images={name: pixels[i] for name, pixels in images.items()},
                    state=np.asarray(states[first + i], np.float32),
                    time=(first + i) / self.data.contract.rate,
                    sensors={name: felt[name].trimmed(np.asarray(of[i])) for name, of in values.items()},
                )

    def _source_number(self, position: int) -> int:
        return int(np.searchsorted(self.data.first_frames, self.starts[position], side="right") - 1)

    def _rows_in_source(self, position: int) -> NDArray[np.int64]:
        rows, first = self.rows(position), int(self.data.first_frames[self._source_number(position)])
        return np.arange(rows.start - first, rows.stop - first)


def recorded(source: DataSource, rows: NDArray[np.int64]) -> tuple[DataSource, NDArray[np.int64]]:
    """The source inside all that selects and converts, and the numbers there of the frames ``rows`` of ``source``."""
    numbers = rows if source.frame_numbers is None else source.frame_numbers[rows]
    while isinstance(source, WrappedSource):
        source = source.base
    return source, numbers
