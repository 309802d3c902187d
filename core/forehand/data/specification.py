"""Dataset specification: what is written for ``dataset``, from one folder to sources of several formats. No torch.

One source is a path or a hub repository id, which mean a LeRobotDataset, or a mapping ``{name: <format>, path: …}`` with
the options of that format; several are a list of such. A mapping without any of the keys :data:`SOURCE_KEYS` is of
embodiments: a name of each, and its sources.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeGuard

from forehand.data.lerobot.source import LeRobotSource
from forehand.data.source import DataSource
from forehand.errors import ConfigurationError
from forehand.plugins import registry
from forehand.registry import indefinite

Source = str | Path | Mapping[str, Any] | DataSource
"""One dataset source, as it is written or open already."""

SOURCE_KEYS = ("name", "path", "sources")
"""A mapping with one of these keys is of sources, and one without any is of embodiments."""

DEFAULT_FORMAT = "lerobot"


@dataclass(frozen=True)
class SourceSpec:
    """One source that is not open yet: a part of the kind ``dataset``, by its name, and its options.

    where: which entry of the configuration it was, for errors.
    """

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)
    where: str = "dataset"

    def open(self) -> DataSource:
        """The source; raises :class:`DatasetError` where it is missing, and :class:`ConfigurationError` for options."""
        if self.name == DEFAULT_FORMAT and set(self.options) == {"path"}:  # without any plugin
            return LeRobotSource(self.options["path"])
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
    if isinstance(given, Mapping) and "sources" in given:
        return _read_list(given, where)
    if isinstance(given, Sequence) and not isinstance(given, str):
        return tuple(_read_source(one, f"{where}[{i}]") for i, one in enumerate(given))
    return (_read_source(given, where),)


def open_sources(given: Source | Sequence[Source], where: str = "dataset") -> tuple[DataSource, ...]:
    """The sources that are written as ``given``, open; raises as :func:`read_sources` and the sources do."""
    return tuple(one if isinstance(one, DataSource) else one.open() for one in read_sources(given, where))


def is_embodiments(given: Any) -> TypeGuard[Mapping[str, Any]]:
    """Whether what is written for ``dataset`` is a mapping of embodiments."""
    return isinstance(given, Mapping) and not any(key in given for key in SOURCE_KEYS)


def _read_list(given: Mapping[str, Any], where: str) -> tuple[SourceSpec | DataSource, ...]:
    if unknown := sorted(set(given) - {"sources"}):
        raise ConfigurationError(f"{where}: {unknown[0]!r} cannot stand beside 'sources'. Write it into each source.")
    if not isinstance(given["sources"], Sequence) or isinstance(given["sources"], str):
        raise ConfigurationError(f"{where}.sources must be a list, not {given['sources']!r}.")
    return read_sources(given["sources"], f"{where}.sources")


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
    return SourceSpec(name, {key: value for key, value in given.items() if key != "name"}, where)
