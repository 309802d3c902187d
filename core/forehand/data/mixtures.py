"""Mixtures: several dataset sources with their options and weights, in a small YAML file that can be shared.

A mixture is a mapping, or a file with one, which is named by its path or, where a plugin brings it, by its name::

    sources:
      - {path: lerobot/droid_1.0.1, weight: 2, cameras: {static: exterior_1_left}, where: {is_episode_successful: true}}
      - {path: ../blocks, weight: 1}
    split: train          # options beside ``sources`` are those of every source that does not state its own

``dataset=mixture.yaml``, ``dataset={mixture: <file or name>}`` and ``dataset={sources: […]}`` mean the same; beside
``mixture`` there may be options that come before those of the file. Plugins bring mixtures in ``mixture/<name>.yaml`` of
their configuration folder. A path is looked for in the file's folder, and then as it is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from forehand.errors import ConfigurationError, nearest
from forehand.plugins import registry

MIXTURE, SOURCES = "mixture", "sources"
FILES = (".yaml", ".yml")

_PACKAGE, _FOLDER = "pkg://", "file://"


def read_mixture(given: Any, where: str) -> Any:
    """``given``, or where that is a mixture, ``{"sources": […]}`` with all options in each source.

    where: the key that it stands under, for errors. Raises :class:`ConfigurationError`.
    """
    if isinstance(given, str | Path) and str(given).endswith(FILES):
        given = {MIXTURE: str(given)}
    if not isinstance(given, Mapping) or not (MIXTURE in given or SOURCES in given):
        return given
    if MIXTURE in given:
        if SOURCES in given:
            raise ConfigurationError(f"{where}: a {MIXTURE} and {SOURCES} were given. Give one of them.")
        own = {key: value for key, value in given.items() if key != MIXTURE}
        given = {**_read_file(given[MIXTURE], where), **own}
    sources = given[SOURCES]
    if isinstance(sources, str) or not isinstance(sources, Sequence) or not sources:
        raise ConfigurationError(f"{where}.{SOURCES} must be a list, not {sources!r}.")
    common = {key: value for key, value in given.items() if key != SOURCES}
    return {SOURCES: [_with_options(one, common) for one in sources]}


def known_mixtures() -> dict[str, Any]:
    """The mixtures of all plugins: their files by name."""
    return {file.name.rsplit(".", 1)[0]: file for folder in _folders() for file in folder.iterdir() if _is_mixture(file)}


def _with_options(source: Any, common: Mapping[str, Any]) -> Any:
    if isinstance(source, str | Path) and common:
        return {"path": source, **common}
    return {**common, **source} if isinstance(source, Mapping) else source


def _read_file(named: Any, where: str) -> dict[str, Any]:
    from omegaconf import OmegaConf
    from yaml import YAMLError

    file = _find(named, where)
    try:
        read: Any = OmegaConf.to_container(OmegaConf.create(file.read_text(encoding="utf-8")), resolve=True)
    except (OSError, ValueError, YAMLError) as error:
        raise ConfigurationError(f"{where}: the mixture {file} cannot be read: {error}.") from error
    if not isinstance(read, dict) or not isinstance(read.get(SOURCES), list):
        raise ConfigurationError(f"{where}: the mixture {file} has no list of {SOURCES}.")
    if isinstance(file, Path):
        read[SOURCES] = [_beside(one, file.parent) for one in read[SOURCES]]
    return read


def _find(named: Any, where: str) -> Any:
    """The file of a mixture, by its path or its name."""
    if not isinstance(named, str):
        raise ConfigurationError(f"{where}.{MIXTURE} is a file or the name of a mixture, not {named!r}.")
    if named.endswith(FILES):
        file = Path(named).expanduser()
        if not file.is_file():
            raise ConfigurationError(f"{where}: there is no mixture {file.absolute()}: no such file.")
        return file
    known = known_mixtures()
    if named not in known:
        raise ConfigurationError(f"{where}: there is no mixture {named!r}. {nearest(named, known)}")
    return known[named]


def _folders() -> Iterator[Any]:
    for plugin in registry().plugins():
        place = plugin.configuration or ""
        if place.startswith(_PACKAGE):
            folder = resources.files(place.removeprefix(_PACKAGE)) / MIXTURE
        elif place.startswith(_FOLDER):
            folder = Path(place.removeprefix(_FOLDER)) / MIXTURE
        else:
            continue
        if folder.is_dir():
            yield folder


def _is_mixture(file: Any) -> bool:
    return bool(file.is_file()) and file.name.endswith(FILES)


def _beside(source: Any, folder: Path) -> Any:
    """A source whose path is found from the folder of the file that names it."""
    path = source.get("path") if isinstance(source, dict) else source
    if not isinstance(path, str) or not (folder / path).exists():
        return source
    found = str(folder / path)
    return {**source, "path": found} if isinstance(source, dict) else found
