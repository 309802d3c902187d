"""Weight files: named tensors, and their comparison with a module's state dict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from forehand.errors import CheckpointError
from forehand.utils.reading import Unreadable, parse_json

AVERAGED_WEIGHTS = "model_ema.safetensors"
"""File of a checkpoint with averages of its trained weights."""

TRAINING_STATE = "training.safetensors"
"""The file beside a checkpoint's weights from which training continues."""

HEADER_BYTES = 32 * 2**20
TENSORS = 100_000


@dataclass(frozen=True)
class Stored:
    """The shape of a tensor in a file."""

    shape: tuple[int, ...]

    @property
    def elements(self) -> int:
        """How many numbers it holds."""
        return prod(self.shape)


def corrupt_file(path: Path, reason: object) -> CheckpointError:
    """The error for a file that cannot be read, or does not hold what it should."""
    return CheckpointError(f"{path.resolve()} is damaged: {reason}. Copy it again, whole, or use another.")


def read_tensors(path: Path) -> dict[str, Any]:
    """The tensors of a safetensors file, on the CPU. Raises :class:`CheckpointError`."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise corrupt_file(path, error) from error


def read_shapes(path: Path) -> dict[str, Stored]:
    """The shapes of the tensors of a safetensors file, from its header alone. Raises :class:`CheckpointError`."""
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if length > HEADER_BYTES:
                raise Unreadable(f"its header is of {length} bytes, and at most {HEADER_BYTES} are read")
            header = parse_json(file.read(length).decode())
        header.pop("__metadata__", None)
        found = {name: Stored(tuple(map(int, about["shape"]))) for name, about in header.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise corrupt_file(path, f"its header cannot be read ({error})") from error
    if len(found) > TENSORS:
        raise corrupt_file(path, f"it holds {len(found)} tensors, and at most {TENSORS} are read")
    size = path.stat().st_size
    for name, tensor in found.items():
        if min(tensor.shape, default=0) < 0 or tensor.elements > size:
            raise corrupt_file(path, f"its header gives {name} a shape that the file cannot hold")
    return found


def state_dict_mismatch(offered: Mapping[str, Any], needed: Mapping[str, Any]) -> str:
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
