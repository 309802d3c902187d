"""Labelled actions: found in a recording by a model of inverse dynamics, and never taken for recorded ones.

A LeRobotDataset says of each frame where its action is from, in the column :data:`ORIGIN_KEY`, and how sure a labelled
one is, in :data:`CONFIDENCE_KEY`; :data:`LABELS_FILE` says by what it was labelled. An action of confidence 0 is unknown,
as that of an episode's last frame is, behind which nothing was seen.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from forehand.contracts.action_errors import fields_of
from forehand.contracts.contract import Contract
from forehand.data.episode_table import EpisodeTable
from forehand.data.features import ACTION_KEY, ANNOTATION_PREFIX, annotation_features
from forehand.data.reading import Rows
from forehand.data.source import DataSource, WrappedSource
from forehand.errors import ConfigurationError, DatasetError, nearest

ORIGIN = "action_origin"
ORIGIN_KEY = ANNOTATION_PREFIX + ORIGIN
CONFIDENCE_KEY = f"{ACTION_KEY}.confidence"
LABEL_KEYS = (ORIGIN_KEY, CONFIDENCE_KEY)
LABELS_FILE = "meta/forehand_labels.json"

RECORDED, LABELLED = "recorded", "labelled"

RECOVERED = 0.1
"""The least R² of a field that counts as recovered."""

USE, DROP, WEIGH = "use", "drop", "weigh"
USES = (USE, DROP, WEIGH)

OPTIONS = ("labelled", "min_confidence", "labelled_fields")
"""Options of every source: what becomes of its labelled actions."""


def label_features() -> dict[str, dict[str, Any]]:
    """The LeRobot features of the two columns."""
    return annotation_features([ORIGIN]) | {CONFIDENCE_KEY: {"dtype": "float32", "shape": (1,), "names": None}}


def read_confidence(rows: Rows) -> NDArray[np.float32] | None:
    """Confidence of labelled actions, NaN of recorded ones, (N,); None where no column says that any was labelled.

    Raises :class:`DatasetError` for another origin, and for a confidence outside 0 to 1.
    """
    if ORIGIN_KEY not in rows.columns:
        return None
    numbers, origins = rows.words(ORIGIN_KEY)
    if unknown := set(origins) - {RECORDED, LABELLED}:
        raise DatasetError(
            f"{ORIGIN_KEY!r} in the tables of {rows.root} says {min(unknown)!r}; an action is {RECORDED} or {LABELLED}."
        )
    labelled = np.isin(numbers, [i for i, origin in enumerate(origins) if origin == LABELLED])
    if not labelled.any():
        return None
    if CONFIDENCE_KEY not in rows.columns:
        raise DatasetError(f"The tables of {rows.root} have labelled actions, and no column {CONFIDENCE_KEY!r}.")
    confidence = rows.vectors(CONFIDENCE_KEY, 1)[:, 0]
    if len(wrong := np.flatnonzero((confidence < 0) | (confidence > 1))):
        row = int(wrong[0])
        raise DatasetError(
            f"{CONFIDENCE_KEY!r} is {confidence[row]:g} in {rows.describe_rows(row)} of the dataset at {rows.root}; it "
            f"is a number from 0 to 1."
        )
    return np.where(labelled, confidence, np.float32(np.nan))


@dataclass(frozen=True)
class LabelUse:
    """What becomes of labelled actions: ``use``, ``drop``, or ``weigh``.

    Of weighed ones, each is learned from in a share of its windows that is its confidence. min_confidence: those below it
    are left out. labelled_fields: the fields that are learned from, by name; None: all of them. Raises
    :class:`ConfigurationError` naming the option that cannot be.
    """

    labelled: str = USE
    min_confidence: float = 0.0
    labelled_fields: Sequence[str] | None = None

    def __post_init__(self) -> None:
        if self.labelled not in USES:
            raise ConfigurationError(f"labelled is {', '.join(USES)}, not {self.labelled!r}.")
        least = self.min_confidence
        if not isinstance(least, int | float) or isinstance(least, bool) or not 0 <= least <= 1:
            raise ConfigurationError(f"min_confidence is a number from 0 to 1, not {least!r}.")
        names = self.labelled_fields
        if names is not None and (isinstance(names, str) or not isinstance(names, Sequence) or not names):
            raise ConfigurationError(
                f"labelled_fields is a list of fields of the action, not {names!r}. For none of them: labelled: drop."
            )


class LabelledSource(WrappedSource):
    """Another source, with what ``use`` makes of its labelled actions; recorded ones stay."""

    def __init__(self, base: DataSource, use: LabelUse) -> None:
        super().__init__(base)
        self.use = use
        self._unknown = _left_out(base, use.labelled_fields)

    @cached_property
    def episodes(self) -> EpisodeTable:
        """See :attr:`forehand.data.source.DataSource.episodes`."""
        table = self.base.episodes
        if table.confidence is None:
            return table
        confidence = table.confidence
        labelled = ~np.isnan(confidence)
        gone = labelled if self.use.labelled == DROP else labelled & (confidence < self.use.min_confidence)
        table = replace(table, has_action=table.has_action & ~gone)
        if self._unknown.any():
            table = replace(table, action_known=~(labelled[:, None] & self._unknown))
        if self.use.labelled != WEIGH:
            return table
        return replace(table, action_weight=np.nan_to_num(confidence, nan=1.0))

    @cached_property
    def fingerprint(self) -> str:
        """See :attr:`forehand.data.source.DataSource.fingerprint`; the use is part of it."""
        about = f"{self.base.fingerprint}\0labelled\0{self.use.labelled}\0{self.use.min_confidence:g}"
        if self._unknown.any():
            about += f"\0{self._unknown.tolist()}"
        return hashlib.blake2b(about.encode(), digest_size=16).hexdigest()


def _left_out(base: DataSource, fields: Sequence[str] | None) -> NDArray[np.bool_]:
    """(A,): the numbers of labelled actions that are not learned from; raises :class:`ConfigurationError`."""
    left = np.full(base.contract.action_size, fields is not None)
    columns = {field.name: part for field, part in fields_of(base.contract)}
    for name in fields or ():
        if name not in columns:
            raise ConfigurationError(
                f"labelled_fields: the action of the dataset at {base.root} has no field {name!r}. "
                f"{nearest(name, columns)}"
            )
        left[columns[name]] = False
    return left


def use_labels(base: DataSource, options: Mapping[str, Any]) -> DataSource:
    """``base``, or with what ``options`` make of its labelled actions; raises :class:`ConfigurationError`."""
    return LabelledSource(base, LabelUse(**options)) if options else base


def require_learned(contract: Contract, table: EpisodeTable) -> None:
    """Raise :class:`ConfigurationError` for a field of which nothing would be learned, though there are actions."""
    if table.action_known is None or not table.has_action.any():
        return
    known = np.logical_or.reduce(table.action_known[table.has_action], axis=0)
    if lost := [field.name for field, part in fields_of(contract) if not known[part].all()]:
        raise ConfigurationError(
            f"labelled_fields: no action of field {lost[0]!r} would be learned from, as none was recorded. Add recorded "
            f"demonstrations, or this field."
        )


def describe_origins(table: EpisodeTable) -> str:
    """How many actions were recorded and how many labelled, in words; "" where none was labelled."""
    if table.confidence is None:
        return ""
    labelled, unknown = table.labelled, int((~table.has_action & ~np.isnan(table.confidence)).sum())
    mean = f", mean confidence {np.nanmean(table.confidence[labelled]):.2f}" if labelled.any() else ""
    left = f", {unknown} labelled ones not used" if unknown else ""
    if table.action_known is not None and labelled.any():
        known = table.action_known[labelled][0]
        left += f", {int(known.sum())} of their {known.size} numbers learned from"
    return f"actions: {int(table.recorded.sum())} recorded, {int(labelled.sum())} labelled{mean}{left}"


def origin_facts(table: EpisodeTable) -> dict[str, int]:
    """``recorded_actions`` and ``labelled_actions`` as numbers of frames; {} where none was labelled."""
    if table.confidence is None:
        return {}
    return {"recorded_actions": int(table.recorded.sum()), "labelled_actions": int(table.labelled.sum())}
