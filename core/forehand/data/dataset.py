"""Tables of one or several LeRobotDatasets, read once: contract, statistics, episodes and tasks."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from forehand.contracts.compatibility import require_fit
from forehand.contracts.contract import Contract
from forehand.data.consistency import read_spans
from forehand.data.episodes import EpisodeTable, column_statistics, read_episodes
from forehand.data.features import ACTION_KEY, STATE_KEY, read_contract, read_info
from forehand.data.locate import fingerprint, locate_dataset
from forehand.data.reading import Rows
from forehand.data.statistics import DatasetStatistics
from forehand.errors import DatasetError

Source = str | Path

UNFIT = "They cannot be learned from together: take one of them, or convert the other."


@dataclass(frozen=True, eq=False)
class Dataset:
    """Everything but the images of one or several datasets, in memory.

    roots: the folders. contracts: that of each. spans: the table of episodes of each, with the positions of images.
    episodes: the frames of all, N in all, end to end. first_frames: (len(roots) + 1,), the number of the first frame of
    each, and N.
    """

    roots: tuple[Path, ...]
    contracts: tuple[Contract, ...]
    spans: tuple[Rows, ...]
    episodes: EpisodeTable
    first_frames: NDArray[np.int64]

    @classmethod
    def open(cls, sources: Source | Sequence[Source]) -> Dataset:
        """Read and check the tables of ``sources``, folders or hub repository ids. No video is decoded.

        All must fit the contract of the first that has actions; those without actions are compared by all else. Cameras
        are compared once it is known which are used (:meth:`require_cameras`). Raises :class:`DatasetError`, or
        :class:`ContractMismatch` naming the fields that differ.
        """
        roots = tuple(locate_dataset(s) for s in ([sources] if isinstance(sources, str | Path) else sources))
        if not roots:
            raise DatasetError("No dataset was given.")
        contracts = tuple(read_contract(root) for root in roots)
        _require_fit(roots, contracts, ())
        spans = tuple(read_spans(root, read_info(root)) for root in roots)
        parts = [read_episodes(root, rows) for root, rows in zip(roots, spans, strict=True)]
        return cls(roots, contracts, spans, _concatenate(parts), np.cumsum([0, *(len(part) for part in parts)]))

    @property
    def contract(self) -> Contract:
        """That of the first dataset with actions."""
        return self.contracts[_leading(self.contracts)]

    @cached_property
    def statistics(self) -> DatasetStatistics:
        """Of all states, of all actions if there are any, and of the images of cameras that are looked up."""
        found = {STATE_KEY: column_statistics(self.episodes.states)}
        acts = self.episodes.has_action
        if acts.any():
            found[ACTION_KEY] = column_statistics(self.episodes.actions[acts])
        return DatasetStatistics(found, self.roots)

    @cached_property
    def fingerprint(self) -> str:
        """A short name for the content of all datasets, the same on every machine."""
        names = [fingerprint(root) for root in self.roots]
        return names[0] if len(names) == 1 else hashlib.blake2b("\0".join(names).encode(), digest_size=16).hexdigest()

    def require_cameras(self, cameras: Sequence[str] | None, sensors: Sequence[str] = ()) -> None:
        """Raise :class:`ContractMismatch` unless ``cameras`` (None: all) and ``sensors`` are the same in all datasets."""
        _require_fit(self.roots, self.contracts, cameras, sensors)


def _leading(contracts: Sequence[Contract]) -> int:
    return next((i for i, contract in enumerate(contracts) if contract.action), 0)


def _require_fit(
    roots: Sequence[Path], contracts: Sequence[Contract], cameras: Sequence[str] | None, sensors: Sequence[str] = ()
) -> None:
    first = _leading(contracts)
    felt = tuple(s for s in contracts[first].sensors if s.name in sensors)
    used = tuple(c for c in contracts[first].cameras if cameras is None or c.name in cameras)
    for root, contract in zip(roots, contracts, strict=True):
        action = contracts[first].action if contract.action else ()
        needed = replace(contracts[first], cameras=used, action=action, sensors=felt)
        require_fit(needed, contract, f"the dataset {roots[first]}", f"the dataset {root}", UNFIT)


def _concatenate(parts: Sequence[EpisodeTable]) -> EpisodeTable:
    frames = np.cumsum([0, *(len(p) for p in parts)])
    episodes = np.cumsum([0, *(np.unique(p.episode).size for p in parts)])
    tasks = tuple(dict.fromkeys(t for p in parts for t in p.tasks))
    size = max(p.actions.shape[1] for p in parts)
    return EpisodeTable(
        states=np.concatenate([p.states for p in parts]),
        actions=np.concatenate(
            [p.actions if p.has_action.any() else np.zeros((len(p), size), np.float32) for p in parts]
        ),
        episode=np.concatenate(
            [np.unique(p.episode, return_inverse=True)[1] + e for p, e in zip(parts, episodes, strict=False)]
        ),
        end=np.concatenate([p.end + f for p, f in zip(parts, frames, strict=False)]),
        instructions=np.concatenate([np.array([tasks.index(t) for t in p.tasks])[p.instructions] for p in parts]),
        tasks=tasks,
        has_action=np.concatenate([p.has_action for p in parts]),
    )
