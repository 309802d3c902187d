"""Statistics of one or several datasets: of states and actions, and of the images of cameras that are looked up."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from forehand.data.features import IMAGE_PREFIX, STATS_FILE, camera_keys, read_info, read_mapping
from forehand.errors import DatasetError

Statistic = dict[str, NDArray[Any]]

_NAMES = ("mean", "std", "min", "max", "count")


class DatasetStatistics(Mapping[str, Statistic]):
    """Statistics by their LeRobot names, each a mapping of ``mean``, ``std``, ``min``, ``max``, ``count`` and quantiles.

    ``observation.state`` and ``action``, (S,) and (A,), are always there. ``observation.images.<camera>`` is looked up in
    the datasets' metadata when a policy takes it for the first time (:func:`image_statistics`), and is one of the keys
    from then on, so that a checkpoint holds what its policy was made with.
    """

    def __init__(self, tables: Mapping[str, Statistic], roots: Sequence[Path]) -> None:
        self._known, self._roots = dict(tables), tuple(roots)

    def __getitem__(self, key: str) -> Statistic:
        if key not in self._known:
            if not key.startswith(IMAGE_PREFIX):
                raise KeyError(key)
            self._known[key] = image_statistics(self._roots, key.removeprefix(IMAGE_PREFIX))
        return self._known[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._known)

    def __len__(self) -> int:
        return len(self._known)


def image_statistics(roots: Sequence[Path], camera: str) -> Statistic:
    """Statistics of a camera's images over all datasets at ``roots``, by channel.

    ``mean``, ``std``, ``min`` and ``max``, (3,), of levels from 0 to 1, and ``count`` of frames, (1,). They are those of
    ``meta/stats.json``: exact where Forehand recorded the images, of a sample of them where LeRobot did.

    Raises :class:`DatasetError` for a dataset whose metadata lacks them, and :class:`KeyError` for a camera that one of
    them does not have.
    """
    stated = [_stated(root, camera) for root in roots]
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


def _stated(root: Path, camera: str) -> Statistic:
    """What the metadata of the dataset at ``root`` state of a camera's images, flat."""
    key, path = camera_keys(read_info(root)["features"])[camera], root / STATS_FILE
    try:
        found: Statistic = {name: np.asarray(read_mapping(path)[key][name], float).reshape(-1) for name in _NAMES}
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
