"""Selected source: a dataset of which some episodes and frames are used, and sentences chosen."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from forehand.data.episode_table import EpisodeTable
from forehand.data.selection.choosing import Chosen, choose
from forehand.data.selection.options import Selection
from forehand.data.source import Column, DataSource, LeftOut, WrappedSource


class SelectedSource(WrappedSource):
    """What ``selection`` leaves of ``base``, with its sentences; episodes are numbered anew from 0.

    When the tables are read, raises :class:`ConfigurationError` for what there is not, and :class:`DatasetError` where
    nothing is left.
    """

    def __init__(self, base: DataSource, selection: Selection) -> None:
        super().__init__(base)
        self.selection = selection

    @cached_property
    def _chosen(self) -> Chosen:
        return choose(self.base, self.selection)

    @property
    def episodes(self) -> EpisodeTable:
        """See :attr:`forehand.data.source.DataSource.episodes`."""
        return self._chosen.table

    @cached_property
    def frame_numbers(self) -> NDArray[np.int64] | None:
        """See :attr:`forehand.data.source.DataSource.frame_numbers`."""
        kept, below = self._chosen.frames, self.base.frame_numbers
        return below if kept is None else kept if below is None else below[kept]

    @property
    def left_out(self) -> tuple[LeftOut, ...]:
        """See :attr:`forehand.data.source.DataSource.left_out`."""
        return (*self.base.left_out, *self._chosen.left_out)

    @cached_property
    def fingerprint(self) -> str:
        """See :attr:`forehand.data.source.DataSource.fingerprint`; the options are part of it."""
        about = f"{self.base.fingerprint}\0selected\0{self.selection.digest}"
        return hashlib.blake2b(about.encode(), digest_size=16).hexdigest()

    def column(self, name: str) -> NDArray[Any]:
        """See :meth:`forehand.data.source.DataSource.column`."""
        return self._rows(self.base.column(name), self.columns[name])

    def words(self, name: str) -> tuple[NDArray[np.int64], tuple[str, ...]]:
        """See :meth:`forehand.data.source.DataSource.words`."""
        numbers, texts = self.base.words(name)
        return self._rows(numbers, self.columns[name]), texts

    def _rows(self, values: NDArray[Any], column: Column) -> NDArray[Any]:
        kept = self._chosen.episodes if column.per_episode else self._chosen.frames
        return values if kept is None else values[kept]


def select_source(base: DataSource, options: Mapping[str, Any]) -> DataSource:
    """``base``, or what ``options`` select of it where there are any; raises :class:`ConfigurationError`."""
    given = {name: value for name, value in options.items() if value is not None}
    return SelectedSource(base, Selection.read(given)) if given else base
