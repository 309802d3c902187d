"""LeRobotDataset as a dataset source."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from forehand.contracts.sensor import Sensor
from forehand.data.episode_table import EpisodeTable
from forehand.data.features import camera_keys, read_contract, read_info
from forehand.data.lerobot.columns import read_column, read_words, recorded_columns
from forehand.data.lerobot.consistency import read_spans
from forehand.data.lerobot.episodes import read_episodes
from forehand.data.lerobot.formats import open_layout
from forehand.data.lerobot.frames import recorded_pictures
from forehand.data.lerobot.image_statistics import recorded_image_statistics
from forehand.data.lerobot.layout import Layout
from forehand.data.lerobot.locate import fingerprint, locate_dataset
from forehand.data.lerobot.sensors import open_sensor
from forehand.data.reading import Rows
from forehand.data.source import Column, DataSource, FrameReader, Pictures, Statistic
from forehand.errors import DatasetError, no_camera


class LeRobotSource(DataSource):
    """The LeRobotDataset at ``path``, a folder or a hub repository id, of a format that LeRobot has had since 2.0.

    revision: of the repository, a branch, tag or commit; None: that of the latest format. Raises :class:`DatasetError`
    where the dataset is missing or damaged.
    """

    def __init__(self, path: str | Path, revision: str | None = None) -> None:
        self.root = locate_dataset(path, revision, stateless=True)
        self.contract = read_contract(self.root)

    @cached_property
    def spans(self) -> Rows:
        """The table of episodes, with the positions of their images."""
        return read_spans(self.root, read_info(self.root))

    @cached_property
    def episodes(self) -> EpisodeTable:
        """See :meth:`forehand.data.source.DataSource.episodes`."""
        return read_episodes(self.root, self.spans)

    @cached_property
    def fingerprint(self) -> str:
        """See :meth:`forehand.data.source.DataSource.fingerprint`."""
        return fingerprint(self.root)

    def pictures(self, camera: str) -> Pictures:
        """See :meth:`forehand.data.source.DataSource.pictures`."""
        keys = camera_keys(read_info(self.root)["features"])
        if camera not in keys:
            raise DatasetError(no_camera(f"The dataset at {self.root}", camera, keys))
        return recorded_pictures(self.root, keys[camera], self.spans)

    def sensor(self, sensor: Sensor, cache: Path | None = None) -> FrameReader:
        """See :meth:`forehand.data.source.DataSource.sensor`."""
        return open_sensor(self.root, sensor, cache)

    def image_statistics(self, camera: str) -> Statistic:
        """See :func:`forehand.data.lerobot.image_statistics.recorded_image_statistics`."""
        return recorded_image_statistics(self.root, camera)

    @cached_property
    def columns(self) -> Mapping[str, Column]:
        """See :meth:`forehand.data.source.DataSource.columns`."""
        return recorded_columns(self._layout, self.contract)

    def column(self, name: str) -> NDArray[Any]:
        """See :meth:`forehand.data.source.DataSource.column`."""
        if name not in self.columns:
            raise self.no_column(name)
        return read_column(self._layout, name, self.columns[name])

    def words(self, name: str) -> tuple[NDArray[np.int64], tuple[str, ...]]:
        """See :meth:`forehand.data.source.DataSource.words`."""
        if name not in self.columns:
            raise self.no_column(name)
        return read_words(self._layout, name, self.columns[name])

    @cached_property
    def _layout(self) -> Layout:
        return open_layout(self.root)
