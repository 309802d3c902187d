"""Creation of a composed policy's parts from their configuration. Needs torch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from torch import nn

from forehand.errors import ConfigurationError
from forehand.plugins import registry
from forehand.registry import indefinite

PartConfig = Mapping[str, Any] | nn.Module


def make_part(kind: str, config: PartConfig, shared: Mapping[str, Any]) -> Any:
    """The part that ``config`` names, with its options and those that all parts get; ``towers`` only if it takes them.

    A part that was made already is taken as it is.
    """
    if isinstance(config, nn.Module):
        return config
    if "name" not in config:
        raise ConfigurationError(f"policy: {indefinite(kind)} is configured without a name: {dict(config)}.")
    options = {k: v for k, v in config.items() if k != "name"}
    accepted = {k: v for k, v in shared.items() if k != "towers" or registry().takes(kind, config["name"], k)}
    return registry().create(kind, config["name"], **accepted, **options)


def require_module_names(where: str, names: Iterable[Any]) -> None:
    """Raise :class:`ConfigurationError` for names that modules cannot have: empty, with a dot, or torch's own."""
    for name in names:
        if not isinstance(name, str) or not name or "." in name or hasattr(nn.ModuleDict, name):
            raise ConfigurationError(
                f"{where}: {name!r} cannot be a name here: it may hold no dot, nor be a word that torch has taken."
            )
