"""LeRobotDataset as a dataset source."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

from forehand.contracts.sensor import Sensor
from forehand.data.consistency import read_spans
from forehand.data.episode_table import EpisodeTable
from forehand.data.episodes import read_episodes
from forehand.data.features import camera_keys, read_contract, read_info
from forehand.data.frames import recorded_pictures
from forehand.data.locate import fingerprint, locate_dataset
from forehand.data.reading import Rows
from forehand.data.sensors import open_sensor
from forehand.data.source import DataSource, FrameReader, Pictures, Statistic
from forehand.data.statistics import recorded_image_statistics
from forehand.errors import DatasetError


class LeRobotSource(DataSource):
    """The LeRobotDataset at ``path``, a folder or a hub repository id, of a format that LeRobot has had since 2.0.

    revision: of the repository, a branch, tag or commit; None: that of the latest format. Raises :class:`DatasetError`
    where the dataset is missing or damaged.
    """

    def __init__(self, path: str | Path, revision: str | None = None) -> None:
        self.root = locate_dataset(path, revision)
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
            raise DatasetError(f"The dataset at {self.root} has no camera {camera!r}; its cameras are {sorted(keys)}.")
        return recorded_pictures(self.root, keys[camera], self.spans)

    def sensor(self, sensor: Sensor, cache: Path | None = None) -> FrameReader:
        """See :meth:`forehand.data.source.DataSource.sensor`."""
        return open_sensor(self.root, sensor, cache)

    def image_statistics(self, camera: str) -> Statistic:
        """See :func:`forehand.data.statistics.recorded_image_statistics`."""
        return recorded_image_statistics(self.root, camera)
