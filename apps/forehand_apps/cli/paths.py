"""Paths among the options of a command."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from omegaconf import ListConfig


def paths_of(given: Any) -> list[Path]:
    """The paths that an option names, one or several."""
    return [Path(str(path)).expanduser() for path in (given if isinstance(given, ListConfig) else [given])]
