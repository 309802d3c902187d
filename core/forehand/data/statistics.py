"""Statistics of one or several datasets: of states and actions, and of the images of cameras that are looked up."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from forehand.data.chunk_statistics import Predicted, chunk_statistics
from forehand.data.episode_table import EpisodeTable
from forehand.data.features import IMAGE_PREFIX, camera_keys
from forehand.data.lerobot.formats import open_layout
from forehand.data.source import DataSource, Statistic
from forehand.errors import DatasetError

_NAMES = ("mean", "std", "min", "max", "count")


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
    mean, std, low, high, count = (np.stack([one[name] for one in stated]) for name in _NAMES)
    share = count / count.sum()
    overall = (share * mean).sum(axis=0)
    return {
        "mean": overall,
        "std": np.sqrt((share * (std**2 + (mean - overall) ** 2)).sum(axis=0)),
        "min": low.min(axis=0),
        "max": high.max(axis=0),
        "count": count.sum(axis=0).astype(np.int64),
    }


def recorded_image_statistics(root: Path, camera: str) -> Statistic:
    """Statistics of a camera's images in the LeRobotDataset at ``root``, by channel.

    ``mean``, ``std``, ``min`` and ``max``, (3,), of levels from 0 to 1, and ``count`` of frames, (1,). They are those of
    its metadata (``meta/stats.json``, or in format 2.1 ``meta/episodes_stats.jsonl``): exact where Forehand recorded the
    images, of a sample of them where LeRobot did.

    Raises :class:`DatasetError` where the metadata lacks them, and :class:`KeyError` where there is no such camera.
    """
    layout = open_layout(root)
    key, path = camera_keys(layout.info["features"])[camera], layout.statistics_file
    try:
        stated = layout.image_statistics(key)
        found: Statistic = {name: np.asarray(stated[name], float).reshape(-1) for name in _NAMES}
    except (TypeError, KeyError, ValueError, DatasetError) as error:
        raise _lacking(path, key) from error
    sizes = all(len(value) == (1 if name == "count" else 3) for name, value in found.items())
    if not sizes or not all(np.isfinite(value).all() for value in found.values()) or found["count"][0] < 1:
        raise _lacking(path, key)
    return found


def _lacking(path: Path, key: str) -> DatasetError:
    return DatasetError(
        f"The policy takes image statistics of {key!r}, but {path} has no mean, std, min, max and count of its three "
        f"channels. Restore that file, or configure the policy to do without them."
    )
