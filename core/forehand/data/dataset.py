"""Tables of one or several datasets, read once: contract, statistics, episodes and tasks."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from forehand.contracts.compatibility import require_fit
from forehand.contracts.contract import Camera, Contract
from forehand.data.episode_table import EpisodeTable, column_statistics
from forehand.data.features import ACTION_KEY, STATE_KEY
from forehand.data.source import DataSource, LeftOut
from forehand.data.specification import WEIGHT, OpenSources, Source, SourceSpec, read_sources
from forehand.data.statistics import DatasetStatistics
from forehand.errors import ConfigurationError, DatasetError

UNFIT = (
    "They cannot be learned from together as they are: convert fields of one, {path: …, convert: [action.gripper:open]}, "
    "or let one policy learn them as different robots, dataset={one: …, other: …}."
)
CAMERAS = (
    "Say what that camera is called in this dataset, cameras: {{{0}: <name>}}, or that there is none, which masks it: "
    "cameras: {{{0}: null}}."
)


@dataclass(frozen=True, eq=False)
class Dataset:
    """Everything but the images of one or several datasets, in memory.

    sources: one or several. episodes: the frames of all, N in all, end to end. first_frames: (len(sources) + 1,), the
    number of the first frame of each, and N. weights: how many windows of each are drawn, relative to each other; None:
    by their number.
    """

    sources: tuple[DataSource, ...]
    episodes: EpisodeTable
    first_frames: NDArray[np.int64]
    weights: tuple[float, ...] | None = None

    @classmethod
    def open(
        cls, sources: Source | Sequence[Source], where: str = "dataset", opened: OpenSources | None = None
    ) -> Dataset:
        """Read and check the tables of ``sources`` (:mod:`forehand.data.specification`). No video is decoded.

        All must fit the contract of the first that has actions and states; those without actions, or whose state was
        stated to be none, are compared by all else. Cameras are compared once it is known which are used
        (:meth:`require_cameras`). where: the key that they are written under, for errors. opened: sources that other
        datasets have opened, whose tables are not read again; those of this one are added. Raises :class:`DatasetError`,
        :class:`ConfigurationError`, or :class:`ContractMismatch` naming the fields that differ.
        """
        specified = read_sources(sources, where)
        shared = {} if opened is None else opened
        found = tuple(one if isinstance(one, DataSource) else one.open(shared) for one in specified)
        if not found:
            raise DatasetError("No dataset was given.")
        _require_fit(found)
        parts = [source.episodes for source in found]
        weights = _weights([one.weight if isinstance(one, SourceSpec) else None for one in specified], where)
        return cls(found, _concatenate(parts), np.cumsum([0, *(len(part) for part in parts)]), weights)

    @property
    def roots(self) -> tuple[Path, ...]:
        """Where the sources lie."""
        return tuple(source.root for source in self.sources)

    @property
    def contract(self) -> Contract:
        """That of the first dataset with actions, with the cameras that are absent there and others have."""
        leading = self.sources[_leading(self.sources)]
        others = {c.name: c for source in reversed(self.sources) for c in source.contract.cameras}
        absent = tuple(others[name] for name in sorted(leading.absent_cameras & set(others)))
        return replace(leading.contract, cameras=(*leading.contract.cameras, *absent))

    @property
    def left_out(self) -> dict[str, tuple[LeftOut, ...]]:
        """What was left out of each source, by where it lies; sources that are used whole are not named."""
        found: dict[str, tuple[LeftOut, ...]] = {}
        for source in self.sources:
            if source.left_out:
                found[str(source.root)] = (*found.get(str(source.root), ()), *source.left_out)
        return found

    @cached_property
    def statistics(self) -> DatasetStatistics:
        """Of all states, of actions if there are any, and of the images of cameras that are looked up.

        Labelled actions are left out where some are recorded (:attr:`EpisodeTable.described`).
        """
        measured, states = self.episodes.has_state, self.episodes.states
        found = {STATE_KEY: column_statistics(states if measured is None else states[measured])}
        acts = self.episodes.described
        if acts.any():
            found[ACTION_KEY] = column_statistics(self.episodes.actions if acts.all() else self.episodes.actions[acts])
        return DatasetStatistics(found, self.sources, self.episodes)

    @property
    def recorded_only(self) -> Dataset:
        """These data without labelled actions, by which nothing is judged."""
        if self.episodes.confidence is None:
            return self
        table = replace(self.episodes, has_action=self.episodes.recorded, action_weight=None, action_known=None)
        return replace(self, episodes=table)

    @cached_property
    def fingerprint(self) -> str:
        """A short name for the content of all datasets, the same on every machine."""
        names = [source.fingerprint for source in self.sources]
        return names[0] if len(names) == 1 else hashlib.blake2b("\0".join(names).encode(), digest_size=16).hexdigest()

    def require_cameras(self, cameras: Sequence[str] | None, sensors: Sequence[str] = ()) -> None:
        """Raise :class:`ContractMismatch` unless ``cameras`` (None: all) and ``sensors`` are the same in all datasets.

        Cameras of which a source states that it has none are compared in the others.
        """
        used = tuple(c for c in self.contract.cameras if cameras is None or c.name in cameras)
        _require_fit(self.sources, used, sensors)


def _leading(sources: Sequence[DataSource]) -> int:
    """The first source with actions and states, or else with actions."""
    acting = [i for i, source in enumerate(sources) if source.contract.action]
    return next((i for i in acting if sources[i].contract.state), next(iter(acting), 0))


def _require_fit(sources: Sequence[DataSource], cameras: Sequence[Camera] = (), sensors: Sequence[str] = ()) -> None:
    first = sources[_leading(sources)]
    felt = tuple(s for s in first.contract.sensors if s.name in sensors)
    for source in sources:
        used = tuple(camera for camera in cameras if camera.name not in source.absent_cameras)
        action = first.contract.action if source.contract.action else ()
        state = first.contract.state if source.contract.state else ()
        needed = replace(first.contract, cameras=used, state=state, action=action, sensors=felt)
        missing = sorted({camera.name for camera in used} - {camera.name for camera in source.contract.cameras})
        remedy = CAMERAS.format(missing[0]) if missing else UNFIT
        require_fit(needed, source.contract, f"the dataset {first.root}", f"the dataset {source.root}", remedy)


def _weights(stated: Sequence[float | None], where: str) -> tuple[float, ...] | None:
    """The weights of all sources; raises :class:`ConfigurationError` where only some state one, or all of them 0."""
    found = tuple(weight for weight in stated if weight is not None)
    if len(found) not in (0, len(stated)) or (found and not any(found)):
        raise ConfigurationError(
            f"{where}: {len(found)} of {len(stated)} sources have a {WEIGHT}: {', '.join(map(str, found))}. Give one for "
            f"each, not all of them 0, or none."
        )
    return found or None


def _concatenate(parts: Sequence[EpisodeTable]) -> EpisodeTable:
    if len(parts) == 1 and _is_numbered(parts[0]):
        return parts[0]
    frames = np.cumsum([0, *(len(p) for p in parts)])
    episodes = np.cumsum([0, *(np.unique(p.episode).size for p in parts)])
    said = [p.paraphrases or tuple((task,) for task in p.tasks) for p in parts]
    places = {texts: place for place, texts in enumerate(dict.fromkeys(texts for one in said for texts in one))}
    size, state_size = (max(getattr(p, side).shape[1] for p in parts) for side in ("actions", "states"))
    return EpisodeTable(
        states=np.concatenate(
            [p.states if p.states.shape[1] else np.zeros((len(p), state_size), np.float32) for p in parts]
        ),
        actions=np.concatenate(
            [p.actions if p.has_action.any() else np.zeros((len(p), size), np.float32) for p in parts]
        ),
        episode=np.concatenate(
            [np.unique(p.episode, return_inverse=True)[1] + e for p, e in zip(parts, episodes, strict=False)]
        ),
        end=np.concatenate([p.end + f for p, f in zip(parts, frames, strict=False)]),
        instructions=np.concatenate(
            [np.array([places[texts] for texts in one])[p.instructions] for one, p in zip(said, parts, strict=True)]
        ),
        tasks=tuple(texts[0] for texts in places),
        has_action=np.concatenate([p.has_action for p in parts]),
        paraphrases=tuple(places) if any(len(texts) > 1 for texts in places) else (),
        has_state=_measured(parts, state_size),
        confidence=_where_known([p.confidence for p in parts], parts, np.nan),
        action_weight=_where_known([p.action_weight for p in parts], parts, 1.0),
        action_known=_known(parts, size),
    )


def _is_numbered(part: EpisodeTable) -> bool:
    """Whether episodes are numbered from 0 without gaps, and every task is said once, so that the table can stay."""
    steps = np.diff(part.episode)
    counted = not len(part) or (part.episode[0] == 0 and ((steps == 0) | (steps == 1)).all())
    return bool(counted) and not part.paraphrases and len(set(part.tasks)) == len(part.tasks)


def _known(parts: Sequence[EpisodeTable], size: int) -> NDArray[np.bool_] | None:
    """Which numbers of all parts' actions are learned from, (N, ``size``); None where every part's are."""
    if all(part.action_known is None for part in parts):
        return None
    whole = [np.ones((len(p), size), bool) if p.action_known is None else p.action_known for p in parts]
    return np.concatenate(whole)


def _where_known(
    columns: Sequence[NDArray[np.float32] | None], parts: Sequence[EpisodeTable], otherwise: float
) -> NDArray[np.float32] | None:
    """The columns end to end, with ``otherwise`` in parts that have none; None where no part has one."""
    if all(column is None for column in columns):
        return None
    filled = [np.full(len(p), otherwise, np.float32) if c is None else c for c, p in zip(columns, parts, strict=True)]
    return np.concatenate(filled)


def _measured(parts: Sequence[EpisodeTable], size: int) -> NDArray[np.bool_] | None:
    """Which frames have a state, of ``size`` numbers; None where all do."""
    if all(p.states.shape[1] == size and p.has_state is None for p in parts):
        return None
    return np.concatenate(
        [np.full(len(p), p.states.shape[1] == size) if p.has_state is None else p.has_state for p in parts]
    )
