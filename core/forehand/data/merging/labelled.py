"""Labelled dataset: a recording, with the actions that were found for it beside it; nothing is encoded again."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from forehand.contracts.contract import Contract, Field
from forehand.data.features import ACTION_KEY, INFO_FILE, to_features
from forehand.data.importing.record import IMPORT_FILE
from forehand.data.labels import CONFIDENCE_KEY, LABELLED, LABELS_FILE, ORIGIN_KEY, label_features
from forehand.data.merging.merge import Merged
from forehand.data.merging.parts import Part
from forehand.data.recording import tables
from forehand.data.recording.commit import publish, staging
from forehand.errors import DatasetError


@dataclass(frozen=True)
class EpisodeLabels:
    """What was found of an episode: actions (T, A) in the units of a contract, and their confidence (T,), 0 to 1."""

    actions: NDArray[np.float32]
    confidence: NDArray[np.float32]


def write_labelled(
    part: Part,
    output: Path,
    action: tuple[Field, ...],
    labels: Callable[[int], EpisodeLabels],
    labelling: Mapping[str, Any],
) -> dict[str, Any]:
    """Write the episodes of ``part``, with the ``labels`` of each by its number there; returns ``info.json``.

    action: the fields of the actions. labelling: by what they were labelled, for ``meta/forehand_labels.json``. Only
    within :func:`forehand.data.recording.commit.recording_lock`; it appears at once. Raises :class:`DatasetError` where a
    dataset is there already, and where labels are not those of the episode's frames.
    """
    if (output / INFO_FILE).exists():
        raise DatasetError(f"{output.absolute()} holds a dataset already. Choose a new folder.")
    written = _Labelled(staging(output), part, action, labels, labelling)
    written.add(part)
    info = written.finish()
    publish(output)
    return info


class _Labelled(Merged):
    """The labelled dataset while it is written below ``target``."""

    def __init__(
        self,
        target: Path,
        part: Part,
        action: tuple[Field, ...],
        labels: Callable[[int], EpisodeLabels],
        labelling: Mapping[str, Any],
    ) -> None:
        super().__init__(target, [part])
        self._labels, self._labelling, self._action = labels, labelling, action
        self._info["features"] |= {ACTION_KEY: to_features(self.contract)[ACTION_KEY], **label_features()}

    @property
    def contract(self) -> Contract:
        """See :attr:`Merged.contract`; its actions are those that were found."""
        return replace(super().contract, action=self._action)

    def documents(self) -> dict[str, Any]:
        """See :meth:`Merged.documents`."""
        (part,) = self._parts
        imported = {} if part.record is None else {IMPORT_FILE: dict(part.record)}
        return imported | {LABELS_FILE: {"labellings": [dict(self._labelling)]}}

    def new_columns(self, part: Part) -> set[str]:
        """See :meth:`Merged.new_columns`; actions are, also those that take the place of recorded ones."""
        return {*super().new_columns(part), ACTION_KEY, *label_features()}

    def with_columns(self, table: pa.Table) -> pa.Table:
        """See :meth:`Merged.with_columns`."""
        number = int(table["episode_index"][0].as_py())
        found = self._labels(number)
        if found.actions.shape != (len(table), self.contract.action_size) or found.confidence.shape != (len(table),):
            raise DatasetError(
                f"Episode {number} has {len(table)} frames, and its labels are {found.actions.shape} actions with "
                f"{found.confidence.shape} confidences. Label it again."
            )
        columns: dict[str, Any] = {
            ACTION_KEY: tables.vectors(found.actions),
            ORIGIN_KEY: pa.array([LABELLED] * len(table)),
            CONFIDENCE_KEY: pa.array(found.confidence),
        }
        for name, values in columns.items():
            table = table.drop_columns([name]) if name in table.column_names else table
            table = table.append_column(name, values)
        return table
