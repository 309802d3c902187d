"""Dataset source: one dataset as training reads it, whatever the format in which it is stored. No torch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from forehand.contracts.contract import Contract
from forehand.contracts.sensor import Sensor
from forehand.data.episode_table import EpisodeTable
from forehand.data.frame_cache import FrameBlock
from forehand.utils.images import Size

Statistic = dict[str, NDArray[Any]]


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

    key: what the format calls them, for errors. root: where the source lies, for errors. total: N.
    """

    key: str
    root: Path
    total: int

    @abstractmethod
    def blocks(self) -> Iterator[FrameBlock]:
        """Numbers of frames (n,), and their pixels (n, H, W, 3) uint8, in any order; raises :class:`DatasetError`."""

    @abstractmethod
    def digest(self) -> str:
        """A short name for the content of the images, the same on every machine and wherever the source lies."""

    def former_name(self, size: Size, method: str) -> str | None:
        """The name that earlier versions gave to the decoded frames, or None."""
        return None


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

    @abstractmethod
    def sensor(self, sensor: Sensor, cache: Path | None = None) -> FrameReader:
        """All frames of a sensor beside cameras, (N, *full_shape); ``cache``: folder of decoded frames."""

    @abstractmethod
    def image_statistics(self, camera: str) -> Statistic:
        """``mean``, ``std``, ``min``, ``max``, (3,), of levels from 0 to 1, and ``count`` of frames, (1,).

        Raises :class:`DatasetError` where they are not stated, and :class:`KeyError` where there is no such camera.
        """
