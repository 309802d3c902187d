"""Windows of several embodiments: batches in which each embodiment's windows stand by themselves."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from forehand.data.dataset import Dataset
from forehand.data.frame_store import FrameStore
from forehand.data.frozen_features import FrozenFeatures
from forehand.data.source import LeftOut
from forehand.data.specification import OpenSources, Source, by_embodiment
from forehand.data.window_spec import WindowSpec
from forehand.data.windows import Sample, WindowDataset
from forehand.errors import DatasetError

Pixels = str | Mapping[str, str]


class EmbodimentWindows:
    """The windows of several datasets by embodiment, numbered end to end.

    windows: embodiment → :class:`~forehand.data.windows.WindowDataset`.
    """

    def __init__(self, windows: Mapping[str, WindowDataset]) -> None:
        self.windows = dict(windows)
        self._first = np.cumsum([0, *(len(w) for w in windows.values())])

    def __len__(self) -> int:
        return int(self._first[-1])

    @property
    def pixels(self) -> Pixels:
        """How exact the images are (:attr:`WindowDataset.pixels`), by embodiment where these differ."""
        each = {name: windows.pixels for name, windows in self.windows.items()}
        return each if len(set(each.values())) > 1 else next(iter(each.values()))

    @property
    def episode_count(self) -> int:
        """Episodes of all embodiments."""
        return sum(w.episode_count for w in self.windows.values())

    def batch(self, indices: Sequence[int] | NDArray[np.int64], *, step: int = 0, seed: int = 0) -> dict[str, Sample]:
        """The windows ``indices``, as a batch for each embodiment that has some of them.

        step, seed: as for :meth:`forehand.data.windows.WindowDataset.batch`.
        """
        numbers = np.asarray(indices)
        owner = np.searchsorted(self._first, numbers, side="right") - 1
        found = {}
        for i, (name, windows) in enumerate(self.windows.items()):
            if (mine := owner == i).any():
                found[name] = windows.batch(numbers[mine] - self._first[i], step=step, seed=seed)
        return found

    def add_features(self, features: Mapping[str, FrozenFeatures], cache: str | Path | None = None) -> None:
        """See :meth:`forehand.data.windows.WindowDataset.add_features`."""
        for windows in self.windows.values():
            windows.add_features(features, cache)

    def sample_weights(
        self, dataset_weights: Sequence[float] | None, gripper_oversampling: float
    ) -> NDArray[np.float64] | None:
        """Sampling weight of each window, (N,), or None where all are equal.

        dataset_weights: by embodiment; by default the sums of what their sources state, if all do. Inside an embodiment,
        windows are drawn by the weights of its sources.
        """
        own = [w.sample_weights(None, gripper_oversampling) for w in self.windows.values()]
        if dataset_weights is None:
            if all(weights is None for weights in own):
                return None
            stated = [sum(w.data.weights or ()) for w in self.windows.values()]
            counted = any(w.data.weights is None for w in self.windows.values())
            dataset_weights = [len(w) for w in self.windows.values()] if counted else stated
        if len(dataset_weights) != len(own):
            raise DatasetError(
                f"{len(dataset_weights)} dataset_weights were given for {len(own)} embodiments; give one for each."
            )
        parts = []
        for windows, weights, share in zip(self.windows.values(), own, dataset_weights, strict=True):
            drawn = np.ones(len(windows)) if weights is None else weights
            parts.append(share * drawn / drawn.sum())
        return np.concatenate(parts)


class EmbodimentDatasets:
    """The datasets of several embodiments, whose states and actions may differ.

    datasets: embodiment → :class:`~forehand.data.dataset.Dataset`. contract, statistics: those of the first.
    """

    def __init__(self, datasets: Mapping[str, Dataset]) -> None:
        self.datasets = dict(datasets)
        first = next(iter(datasets.values()))
        self.contract, self.statistics = first.contract, first.statistics

    @classmethod
    def open(
        cls, sources: Mapping[str, Source | Sequence[Source]], opened: OpenSources | None = None
    ) -> EmbodimentDatasets:
        """Read and check the tables of all; raises :class:`DatasetError`, naming the embodiment.

        opened: as for :meth:`forehand.data.dataset.Dataset.open`.
        """
        if not sources:
            raise DatasetError("No dataset was given.")
        found = {}
        for name, source in sources.items():
            try:
                found[str(name)] = Dataset.open(source, f"dataset.{name}", opened)
            except DatasetError as error:
                raise DatasetError(f"embodiment {name!r}: {error}") from error
        return cls(found)

    @property
    def embodiments(self) -> dict[str, dict[str, Any]]:
        """Contract and statistics of each, as a cross-embodiment policy is built from them."""
        return {name: {"contract": d.contract, "statistics": d.statistics} for name, d in self.datasets.items()}

    @property
    def left_out(self) -> dict[str, tuple[LeftOut, ...]]:
        """What was left out of the sources of all embodiments, by where they lie."""
        found: dict[str, tuple[LeftOut, ...]] = {}
        for data in self.datasets.values():
            for root, reasons in data.left_out.items():
                found[root] = (*found.get(root, ()), *reasons)
        return found

    @property
    def fingerprint(self) -> str:
        """A short name for the content of all datasets and which embodiment each is of."""
        text = "\0".join(f"{name}\0{d.fingerprint}" for name, d in self.datasets.items())
        return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()

    def windows(
        self,
        window: WindowSpec | Mapping[str, Any] | None = None,
        *,
        cache: str | Path | None = None,
        frames: FrameStore | str = "raw",
        pixels: Pixels | None = None,
        **options: Any,
    ) -> EmbodimentWindows:
        """Windows of each; the arguments are those of :class:`~forehand.data.windows.WindowDataset`."""
        begun = pixels if isinstance(pixels, Mapping) else dict.fromkeys(self.datasets, pixels)
        return EmbodimentWindows(
            {
                name: WindowDataset(d, window, cache=cache, frames=frames, pixels=begun.get(name), **options)
                for name, d in self.datasets.items()
            }
        )


def open_datasets(
    given: Source | Sequence[Source] | Mapping[str, Source | Sequence[Source]], opened: OpenSources | None = None
) -> Dataset | EmbodimentDatasets:
    """The datasets that are written as ``given`` (:mod:`forehand.data.specification`), of one embodiment or several.

    opened: as for :meth:`forehand.data.dataset.Dataset.open`.
    """
    embodiments = by_embodiment(given)
    if embodiments is None:
        return Dataset.open(given, opened=opened)
    return EmbodimentDatasets.open(embodiments, opened)
