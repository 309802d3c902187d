"""Choices that are written as a name, or as a mapping with ``name`` and options."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from forehand.errors import ConfigurationError, nearest


def named_options(where: str, given: Any) -> tuple[str, dict[str, Any]]:
    """(name, options) of what is written as a name, or as a mapping with ``name``; ``where``: its key, for errors."""
    options = {"name": given} if isinstance(given, str) else dict(given) if isinstance(given, Mapping) else {}
    name = options.pop("name", None)
    if not isinstance(name, str):
        raise ConfigurationError(f"{where} is a name, or {{name: …}} with options, not {given!r}.")
    return name, options


def make_with_options(where: str, kind: type, options: Mapping[str, Any]) -> Any:
    """An instance of the dataclass ``kind``; raises :class:`ConfigurationError` for options that it does not have."""
    known = [field.name for field in fields(kind)]
    if unknown := [key for key in options if key not in known]:
        raise ConfigurationError(f"{where} has no option {unknown[0]!r}. {nearest(unknown[0], known)}")
    return kind(**options)
