"""Dataset source: one dataset as training reads it, whatever the format in which it is stored. No torch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from forehand.contracts.contract import Contract, Field
from forehand.contracts.sensor import Sensor
from forehand.data.episode_table import EpisodeTable
from forehand.data.features import ACTION_KEY, STATE_KEY, element_names
from forehand.data.frame_cache import FrameBlock
from forehand.errors import DatasetError, nearest
from forehand.utils.images import Size

Statistic = dict[str, NDArray[Any]]

FRAMES_READ_AT_ONCE = 64
"""Pictures in memory at their recorded size, for each worker."""


class FrameReader(Protocol):
    """Random access to frames by number: ``reader[numbers]`` with numbers (…) gives (…, *shape[1:]); a memory map is one.

    shape: (N, …), of all frames. dtype: of each value.
    """

    @property
    def shape(self) -> tuple[int, ...]:
        """(N, …): the number of frames, and the shape of each."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of each value."""

    def __len__(self) -> int:
        """Number of frames."""

    def __getitem__(self, numbers: Any) -> NDArray[Any]:
        """The frames ``numbers``."""


class Pictures(ABC):
    """Images of one camera of a source, N in all, at the size at which they were recorded.

    key: what the format calls them, for errors. root: where the source lies, for errors. total: N. They can be pickled,
    to be read in other processes.
    """

    key: str
    root: Path
    total: int

    @abstractmethod
    def read(self, numbers: NDArray[np.int64]) -> NDArray[np.uint8]:
        """The frames ``numbers`` (n,), n ≥ 1, in any order: (n, H, W, 3) uint8; several threads may call it at once.

        Frames that follow each other are asked for together, in their order. Raises :class:`DatasetError`.
        """

    def blocks(self, first: int = 0, last: int | None = None) -> Iterator[FrameBlock]:
        """Numbers of frames (n,), and their pixels (n, H, W, 3) uint8, from frame ``first`` up to before ``last``."""
        end = self.total if last is None else last
        for start in range(first, end, FRAMES_READ_AT_ONCE):
            numbers = np.arange(start, min(start + FRAMES_READ_AT_ONCE, end))
            yield numbers, self.read(numbers)

    @abstractmethod
    def digest(self) -> str:
        """A short name for the content of the images, the same on every machine and wherever the source lies."""

    def former_name(self, size: Size, method: str) -> str | None:
        """The name that earlier versions gave to the decoded frames, or None."""
        return None


@dataclass(frozen=True)
class Column:
    """Column of a source's tables: numbers or words, of each frame or of each episode.

    size: numbers in a row; 0 for words. names: of its elements, () where they have none. fields: what they mean, () where
    that is not stated. per_episode: whether it has a row for each episode instead of each frame.
    """

    size: int
    names: tuple[str, ...] = ()
    fields: tuple[Field, ...] = ()
    per_episode: bool = False


@dataclass(frozen=True)
class LeftOut:
    """What was left out of a dataset, and why: so many episodes and frames, for one reason."""

    reason: str
    episodes: int
    frames: int

    def __str__(self) -> str:
        return f"{self.reason}: {self.episodes} episodes, {self.frames} frames"


class DataSource(ABC):
    """One dataset: contract, tables, and where the frames of cameras and other sensors come from.

    root: where it lies, for errors. contract: what its numbers mean.
    """

    root: Path
    contract: Contract

    @property
    @abstractmethod
    def episodes(self) -> EpisodeTable:
        """States, actions, episode boundaries and instructions, checked; read once."""

    @property
    @abstractmethod
    def fingerprint(self) -> str:
        """A short name for the content, the same on every machine."""

    @abstractmethod
    def pictures(self, camera: str) -> Pictures:
        """The images of ``camera``; raises :class:`DatasetError` where there is no such camera."""

    def sensor(self, sensor: Sensor, cache: Path | None = None) -> FrameReader:
        """All frames of a sensor beside cameras, (N, *full_shape); ``cache``: folder of decoded frames.

        Raises :class:`DatasetError` where there is no such sensor, which is so unless a source has some.
        """
        raise DatasetError(f"The dataset at {self.root} has no sensor {sensor.name!r}.")

    def image_statistics(self, camera: str) -> Statistic:
        """``mean``, ``std``, ``min``, ``max``, (3,), of levels from 0 to 1, and ``count`` of frames, (1,).

        Raises :class:`DatasetError` where they are not stated, which is so unless a source states some, and
        :class:`KeyError` where there is no such camera.
        """
        raise DatasetError(
            f"The policy takes image statistics of camera {camera!r}, and the dataset at {self.root} states none. "
            f"Configure the policy to do without them."
        )

    @property
    def frame_numbers(self) -> NDArray[np.int64] | None:
        """Numbers (N,) in :meth:`pictures` and :meth:`sensor` of the frames of :attr:`episodes`; None: all, in order."""
        return None

    @property
    def absent_cameras(self) -> frozenset[str]:
        """Cameras that other sources have, and this one was stated not to have: their images are absent, and masked."""
        return frozenset()

    @property
    def left_out(self) -> tuple[LeftOut, ...]:
        """What of the recording is not among :attr:`episodes`, by reason."""
        return ()

    @property
    def columns(self) -> Mapping[str, Column]:
        """Columns that can be read by name; those of frames come before those of episodes of the same name."""
        state, action = self.contract.state, self.contract.action
        found = {}
        if state:
            found[STATE_KEY] = Column(self.contract.state_size, tuple(element_names(state)), state)
        if action:
            found[ACTION_KEY] = Column(self.contract.action_size, tuple(element_names(action)), action)
        return found

    def column(self, name: str) -> NDArray[Any]:
        """The numbers of a column, (N, D), or (E, D) of one by episode; raises :class:`DatasetError`."""
        known = {STATE_KEY: self.episodes.states, ACTION_KEY: self.episodes.actions}
        if name not in self.columns or name not in known:
            raise self.no_column(name)
        return known[name]

    def words(self, name: str) -> tuple[NDArray[np.int64], tuple[str, ...]]:
        """A column of words: of each row, (N,) or (E,), the number of its text, and the texts; :class:`DatasetError`."""
        raise self.no_column(name)

    def no_column(self, name: str) -> DatasetError:
        """The error about a column that there is not."""
        return DatasetError(f"The dataset at {self.root} has no column {name!r}. {nearest(name, self.columns)}")


class WrappedSource(DataSource):
    """Another source, ``base``, of which a subclass changes something; all else is that of ``base``."""

    def __init__(self, base: DataSource) -> None:
        self.base, self.root, self.contract = base, base.root, base.contract

    @property
    def episodes(self) -> EpisodeTable:
        """See :attr:`DataSource.episodes`."""
        return self.base.episodes

    @property
    def fingerprint(self) -> str:
        """See :attr:`DataSource.fingerprint`."""
        return self.base.fingerprint

    def pictures(self, camera: str) -> Pictures:
        """See :meth:`DataSource.pictures`."""
        return self.base.pictures(camera)

    def sensor(self, sensor: Sensor, cache: Path | None = None) -> FrameReader:
        """See :meth:`DataSource.sensor`."""
        return self.base.sensor(sensor, cache)

    def image_statistics(self, camera: str) -> Statistic:
        """See :meth:`DataSource.image_statistics`."""
        return self.base.image_statistics(camera)

    @property
    def frame_numbers(self) -> NDArray[np.int64] | None:
        """See :attr:`DataSource.frame_numbers`."""
        return self.base.frame_numbers

    @property
    def absent_cameras(self) -> frozenset[str]:
        """See :attr:`DataSource.absent_cameras`."""
        return self.base.absent_cameras

    @property
    def left_out(self) -> tuple[LeftOut, ...]:
        """See :attr:`DataSource.left_out`."""
        return self.base.left_out

    @property
    def columns(self) -> Mapping[str, Column]:
        """See :attr:`DataSource.columns`."""
        return self.base.columns

    def column(self, name: str) -> NDArray[Any]:
        """See :meth:`DataSource.column`."""
        return self.base.column(name)

    def words(self, name: str) -> tuple[NDArray[np.int64], tuple[str, ...]]:
        """See :meth:`DataSource.words`."""
        return self.base.words(name)
