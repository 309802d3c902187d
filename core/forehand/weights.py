"""Named tensors in files, and whether they fit where they are to go."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from forehand.errors import CheckpointError


def damaged(path: Path, reason: object) -> CheckpointError:
    """The error for a file that cannot be read, or does not hold what it should."""
    return CheckpointError(f"{path.resolve()} is damaged: {reason}. Copy it again, whole, or use another.")


def read_tensors(path: Path) -> dict[str, Any]:
    """The tensors of a safetensors file, on the CPU. Raises :class:`CheckpointError`."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise damaged(path, error) from error


def misfits(offered: Mapping[str, Any], needed: Mapping[str, Any]) -> str:
    """What keeps ``offered`` tensors from filling the ``needed`` ones, a line for each kind of misfit; empty if they fit.

    Both map names to anything with a ``shape``.
    """
    shapes = {name: (tuple(offered[name].shape), tuple(needed[name].shape)) for name in needed if name in offered}
    found = {
        "missing": [name for name in needed if name not in offered],
        "unexpected": [name for name in offered if name not in needed],
        "of another shape": [f"{name} (found {a}, needed {b})" for name, (a, b) in shapes.items() if a != b],
    }
    return "\n".join(f"  - {what}: {_some(names)}" for what, names in found.items() if names)


def _some(names: Sequence[str], most: int = 10) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
