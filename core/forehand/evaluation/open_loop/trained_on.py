"""Recognition of episodes that a policy was trained on, by its checkpoint's provenance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from forehand.data.source import DataSource
from forehand.data.specification import SourceSpec, by_embodiment, read_sources
from forehand.errors import ForehandError
from forehand.evaluation.open_loop.recorded import RecordedEpisodes, recorded
from forehand.utils.provenance import initial_weights


@dataclass(frozen=True)
class TrainedOn:
    """Which episodes of a dataset a policy was trained on: ``seen``, (E,) of True, False, or None where it is not known.

    notes: what could not be found out, and why.
    """

    seen: tuple[bool | None, ...]
    notes: tuple[str, ...] = ()


def trained_on(episodes: RecordedEpisodes, provenance: Mapping[str, Any] | None) -> TrainedOn:
    """Which of ``episodes`` the policy was trained on whose checkpoint has ``provenance``; None: it is not known.

    An episode is the same where the recording has the same fingerprint, and a frame of it was used in training. The
    sources of the training are opened where they lay, or else where the evaluated ones lie, and taken only if their
    fingerprints are those that the checkpoint states.
    """
    if not provenance or not provenance.get("data") or not provenance.get("dataset"):
        why = (
            "The policy states nothing of its training data" if provenance is None else "The checkpoint names no dataset"
        )
        return TrainedOn((None,) * len(episodes), (f"{why}: whether it was trained on these episodes is not known.",))
    roots = list(dict.fromkeys(source.root for source in episodes.data.sources))
    used: dict[str, list[NDArray[np.int64]]] = {}
    notes = []
    for spec, facts in zip(_specs(provenance["dataset"]), provenance["data"], strict=False):
        source = _opened(spec, facts["fingerprint"], roots)
        if source is None:
            notes.append(
                f"The training's dataset {facts['name']} was not found with the content that the checkpoint states: "
                f"whether its episodes are among these is not known."
            )
            continue
        base, frames = recorded(source, np.arange(len(source.episodes)))
        used.setdefault(base.fingerprint, []).append(frames)
    for first in initial_weights(provenance):
        notes.append(f"The training began with {first['checkpoint']}, whose own data is not looked up.")
    known = {name: np.unique(np.concatenate(parts)) for name, parts in used.items()}
    otherwise = None if notes else False
    seen: list[bool | None] = []
    for position in range(len(episodes)):
        base, frames = episodes.recorded_frames(position)
        there = base.fingerprint in known and bool(np.isin(frames, known[base.fingerprint]).any())
        seen.append(True if there else otherwise)
    return TrainedOn(tuple(seen), tuple(notes))


def any_trained_on(known: Sequence[TrainedOn]) -> TrainedOn:
    """Which episodes any of several policies was trained on, of what is known of each."""
    seen = [
        True if True in each else None if None in each else False
        for each in zip(*(one.seen for one in known), strict=True)
    ]
    return TrainedOn(tuple(seen), tuple(dict.fromkeys(note for one in known for note in one.notes)))


def _specs(given: Any) -> list[SourceSpec | DataSource]:
    """The sources that a training's ``dataset`` names, those of all embodiments one after the other."""
    groups = by_embodiment(given) or {"dataset": given}
    return [spec for name, sources in groups.items() for spec in read_sources(sources, str(name))]


def _opened(spec: SourceSpec | DataSource, fingerprint: str, roots: Sequence[Path]) -> DataSource | None:
    """The source of that fingerprint: where ``spec`` says, or at one of ``roots``; None where it is at none of them."""
    if isinstance(spec, DataSource):
        return spec if spec.fingerprint == fingerprint else None
    moved = [replace(spec, options={**spec.options, "path": str(root)}) for root in roots]
    for one in (spec, *moved):
        try:
            source = one.open()
            if source.fingerprint == fingerprint:
                return source
        except (ForehandError, OSError):
            continue
    return None
