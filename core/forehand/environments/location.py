"""Folders of environments."""

from __future__ import annotations

import os
from pathlib import Path

from forehand.environments.distributions import source_trees
from forehand.environments.made import MadeEnvironment
from forehand.errors import ConfigurationError

VARIABLE = "FOREHAND_ENVIRONMENTS"


def environments_folder() -> Path:
    """Where environments are: ``$FOREHAND_ENVIRONMENTS``, else ``forehand/environments`` in the user's cache."""
    if given := os.environ.get(VARIABLE):
        return Path(given).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache").expanduser() / "forehand/environments"


def folder_of(environment: str, parent: str | Path | None = None) -> Path:
    """The folder of an environment by its name in ``parent`` (default: the user's), or by a path, which has a ``/``."""
    if os.sep in environment:
        return Path(environment).expanduser().absolute()
    return (environments_folder() if parent is None else Path(parent)).expanduser().absolute() / environment


def find(environment: str) -> MadeEnvironment:
    """The environment of that name or at that path.

    Raises :class:`ConfigurationError` where it is not made yet, and where it runs Forehand from another source tree.
    """
    folder = folder_of(environment)
    found = MadeEnvironment.read(folder)
    name, where = (folder.name, f" folder={folder.parent}") if os.sep in environment else (environment, "")
    if found is None:
        raise ConfigurationError(
            f"The environment {name!r} is not there: {folder} was not made, or not to its end. "
            f"Make it: forehand env make {name}{where}"
        )
    there = found.asked.get("source_trees", {})
    here = source_trees(there)
    if there != here:
        raise ConfigurationError(
            f"The environment {name!r} runs Forehand from {', '.join(there.values())}, this process from "
            f"{', '.join(here.values()) or 'where it is installed'}. Make it again, which takes seconds where nothing "
            f"else has changed: forehand env make {name}{where}"
        )
    return found
