"""Statistics of one or several datasets: of states and actions, and of the images of cameras that are looked up."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from forehand.data.chunk_statistics import Predicted, chunk_statistics
from forehand.data.episode_table import EpisodeTable
from forehand.data.features import IMAGE_PREFIX
from forehand.data.source import DataSource, Statistic

STATED = ("mean", "std", "min", "max", "count")
"""What is stated of the images of a camera."""


class DatasetStatistics(Mapping[str, Statistic]):
    """Statistics by their LeRobot names, each a mapping of ``mean``, ``std``, ``min``, ``max``, ``count`` and quantiles.

    ``observation.state`` and ``action``, (S,) and (A,), are always there. ``observation.images.<camera>`` is looked up in
    the sources when a policy takes it for the first time, and is one of the keys from then on, so that a checkpoint holds
    what its policy was made with; so it is with statistics of chunks (:meth:`add_chunks`).
    """

    def __init__(self, tables: Mapping[str, Statistic], sources: Sequence[DataSource], episodes: EpisodeTable) -> None:
        self._known, self._sources, self._episodes = dict(tables), tuple(sources), episodes

    def __getitem__(self, key: str) -> Statistic:
        if key not in self._known:
            if not key.startswith(IMAGE_PREFIX):
                raise KeyError(key)
            camera = key.removeprefix(IMAGE_PREFIX)
            sources = [source for source in self._sources if camera not in source.absent_cameras] or self._sources
            self._known[key] = merge_image_statistics([source.image_statistics(camera) for source in sources])
        return self._known[key]

    def add_chunks(self, key: str, chunk: int, predicted: Predicted | None = None, *, per_step: bool = False) -> None:
        """Let ``key`` hold statistics of chunks (:func:`forehand.data.chunk_statistics.chunk_statistics`)."""
        self._known[key] = chunk_statistics(self._episodes, chunk, predicted, per_step=per_step)

    def __iter__(self) -> Iterator[str]:
        return iter(self._known)

    def __len__(self) -> int:
        return len(self._known)


def merge_image_statistics(stated: Sequence[Statistic]) -> Statistic:
    """Statistics over all images of one camera in several datasets, from those of each."""
    mean, std, low, high, count = (np.stack([one[name] for one in stated]) for name in STATED)
    share = count / count.sum()
    overall = (share * mean).sum(axis=0)
    return {
        "mean": overall,
        "std": np.sqrt((share * (std**2 + (mean - overall) ** 2)).sum(axis=0)),
        "min": low.min(axis=0),
        "max": high.max(axis=0),
        "count": count.sum(axis=0).astype(np.int64),
    }
