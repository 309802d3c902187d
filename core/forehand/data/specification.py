"""Dataset specification: what is written for ``dataset``, from one folder to sources of several formats. No torch.

One source is a path or a hub repository id, which mean a LeRobotDataset, or a mapping ``{name: <format>, path: …}`` with
the options of that format, and those of every source: :data:`MAPPING`, what its columns and cameras are
(:class:`~forehand.data.mapping.mapped_source.MappedSource`), ``convert``, what its fields become
(:class:`~forehand.data.mapping.converted_source.ConvertedSource`), ``labelled``, ``min_confidence``, ``labelled_fields``,
what becomes of actions that were not recorded (:class:`~forehand.data.labels.LabelUse`),
:data:`~forehand.data.selection.options.OPTIONS`, what is used of it
(:class:`~forehand.data.selection.options.Selection`), and ``weight``. Several are a list of such, or a mixture
(:mod:`forehand.data.mixtures`). A mapping without any of the keys :data:`SOURCE_KEYS` is of embodiments: a name of each,
and its sources.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeGuard

from forehand.data.features import CONTRACT_FILE, STATE_KEY
from forehand.data.labels import OPTIONS as LABEL_OPTIONS
from forehand.data.labels import use_labels
from forehand.data.lerobot.source import LeRobotSource
from forehand.data.mapping.converted_source import ConvertedSource
from forehand.data.mapping.mapped_source import MappedSource
from forehand.data.mixtures import MIXTURE, SOURCES, read_mixture
from forehand.data.sampling import MOST_WEIGHT, is_weight
from forehand.data.selection.options import OPTIONS
from forehand.data.selection.selected_source import select_source
from forehand.data.source import DataSource
from forehand.errors import ConfigurationError, DatasetError, nearest_first
from forehand.plugins import registry
from forehand.registry import indefinite

Source = str | Path | Mapping[str, Any] | DataSource
"""One dataset source, as it is written or open already."""

SOURCE_KEYS = ("name", "path", SOURCES, MIXTURE)
"""A mapping with one of these keys is of sources, and one without any is of embodiments."""

MAPPING = ("state", "action", "cameras")
"""Options of every source: what its columns and cameras are."""

CONVERT = "convert"
"""Option of every source: conversions of its fields, by name."""

OpenSources = dict[str, DataSource]
"""Sources that are open, by what is written of each apart from its selection and weight: several selections share one."""

WEIGHT = "weight"
"""Option of every source: how many windows of it are drawn, relative to others."""

EMBODIMENT = "embodiment"
"""Option of the sources of a mixture: the robot whose states and actions they hold, by a name."""

DEFAULT_FORMAT = "lerobot"


@dataclass(frozen=True)
class SourceSpec:
    """One source that is not open yet: a part of the kind ``dataset``, by its name, and its options.

    where: which entry of the configuration it was, for errors. mapping, convert, selection: what its columns are, what
    they become, and what is used of it. labels: what becomes of its labelled actions. weight: how many windows of it are
    drawn, relative to others; None where that is not stated.
    """

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)
    where: str = "dataset"
    mapping: Mapping[str, Any] = field(default_factory=dict)
    selection: Mapping[str, Any] = field(default_factory=dict)
    weight: float | None = None
    convert: Sequence[str] | str = ()
    labels: Mapping[str, Any] = field(default_factory=dict)

    def open(self, opened: OpenSources | None = None) -> DataSource:
        """The source; raises :class:`DatasetError` where it is missing, and :class:`ConfigurationError` for options.

        opened: where it is taken from if it is open already, and else added, so that its tables are read once.
        """
        opened = {} if opened is None else opened
        key = json.dumps([self.name, self.options, self.mapping, self.convert], sort_keys=True, default=str)
        if key not in opened:
            opened[key] = self._open_whole()
        return select_source(use_labels(opened[key], self.labels), self.selection)

    def _open_whole(self) -> DataSource:
        source = self._open_recorded()
        if self.mapping:
            source = MappedSource(source, **self.mapping)
        stated = self.mapping.get("state") is not None or (source.root / CONTRACT_FILE).is_file()
        if not source.contract.state and not stated:
            numbers = sorted(name for name, column in source.columns.items() if column.size and not column.per_episode)
            raise DatasetError(
                f"The dataset at {source.root} lacks {STATE_KEY!r}; it has {', '.join(numbers) or 'no numbers'}. Say "
                f"which of them are the state, {{path: …, state: […]}}, or that there is none, state: []."
            )
        if self.convert:
            source = ConvertedSource(source, self.convert)
        return source

    def _open_recorded(self) -> DataSource:
        if self.name == DEFAULT_FORMAT and set(self.options) == {"path"}:  # without any plugin
            return LeRobotSource(self.options["path"])
        known = registry().options("dataset", self.name)
        if known is not None and (unknown := [name for name in self.options if name not in known]):
            every = dict.fromkeys([*known, *MAPPING, *OPTIONS, *LABEL_OPTIONS, CONVERT, WEIGHT])
            raise ConfigurationError(
                f"{self.where}: a dataset of the format {self.name!r} has no option {unknown[0]!r}. "
                f"{nearest_first(unknown[0], every)}"
            )
        made = registry().create("dataset", self.name, **self.options)
        if not isinstance(made, DataSource):
            raise ConfigurationError(
                f"{self.where}: dataset {self.name!r} makes {indefinite(type(made).__name__)}, which is no DataSource. "
                f"That is for its plugin to correct."
            )
        return made


def read_sources(given: Source | Sequence[Source], where: str = "dataset") -> tuple[SourceSpec | DataSource, ...]:
    """The sources that are written as ``given``; raises :class:`ConfigurationError` naming the entry that is none.

    where: the key that it stands under, for errors.
    """
    given = read_mixture(given, where)
    if isinstance(given, Mapping) and SOURCES in given:
        if any(isinstance(one, Mapping) and EMBODIMENT in one for one in given[SOURCES]):
            raise ConfigurationError(f"{where}: sources with an embodiment cannot stand among others. Write them alone.")
        return tuple(_read_source(one, f"{where}.{SOURCES}[{i}]") for i, one in enumerate(given[SOURCES]))
    if isinstance(given, Sequence) and not isinstance(given, str):
        return tuple(_read_source(one, f"{where}[{i}]") for i, one in enumerate(given))
    return (_read_source(given, where),)


def open_sources(given: Source | Sequence[Source], where: str = "dataset") -> tuple[DataSource, ...]:
    """The sources that are written as ``given``, open; raises as :func:`read_sources` and the sources do."""
    return tuple(one if isinstance(one, DataSource) else one.open() for one in read_sources(given, where))


def by_embodiment(given: Any) -> Mapping[str, Any] | None:
    """The sources of each embodiment, by its name, where ``given`` is of embodiments; else None.

    It is where it is a mapping of embodiments, or a mixture in which all sources state one. Raises
    :class:`ConfigurationError` where only some do.
    """
    if is_embodiments(given):
        return given
    mixture = read_mixture(given, "dataset")
    if not isinstance(mixture, Mapping) or SOURCES not in mixture:
        return None
    found: dict[str, list[Any]] = {}
    for one in mixture[SOURCES]:
        if isinstance(one, Mapping) and EMBODIMENT in one:
            rest = {key: value for key, value in one.items() if key != EMBODIMENT}
            found.setdefault(str(one[EMBODIMENT]), []).append(rest)
    count = sum(map(len, found.values()))
    if count not in (0, len(mixture[SOURCES])):
        raise ConfigurationError(
            f"dataset: {count} of {len(mixture[SOURCES])} sources state an embodiment. State it for all of them, or none."
        )
    return found or None


def is_embodiments(given: Any) -> TypeGuard[Mapping[str, Any]]:
    """Whether what is written for ``dataset`` is a mapping of embodiments."""
    return isinstance(given, Mapping) and not any(key in given for key in SOURCE_KEYS)


def _read_source(given: Any, where: str) -> SourceSpec | DataSource:
    if isinstance(given, DataSource):
        return given
    if isinstance(given, str | Path):
        return SourceSpec(DEFAULT_FORMAT, {"path": given}, where)
    if not isinstance(given, Mapping) or not ("name" in given or "path" in given):
        raise ConfigurationError(
            f"{where} must be a folder, a repository on the hub, or {{name: <format>, path: …}}, not {given!r}."
        )
    name = given.get("name", DEFAULT_FORMAT)
    if not isinstance(name, str):
        raise ConfigurationError(
            f"{where}.name must be the name of a format (forehand plugins kind=dataset), not {name!r}."
        )
    weight = given.get(WEIGHT)
    if weight is not None and not is_weight(weight):
        raise ConfigurationError(f"{where}.{WEIGHT} is a number from 0 to {MOST_WEIGHT:g}, not {weight!r}.")
    own = ("name", WEIGHT, CONVERT, *MAPPING, *OPTIONS, *LABEL_OPTIONS)
    return SourceSpec(
        name,
        {key: value for key, value in given.items() if key not in own},
        where,
        {key: value for key, value in given.items() if key in MAPPING and value is not None},
        {key: value for key, value in given.items() if key in OPTIONS and value is not None},
        weight,
        given.get(CONVERT) or (),
        {key: value for key, value in given.items() if key in LABEL_OPTIONS and value is not None},
    )
