"""Weight files for timm models: reading, matching by order, and conversion of original releases."""

from __future__ import annotations

import sys
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from forehand.errors import CheckpointError
from forehand.learning.weights import read_tensors, state_dict_mismatch

NESTED = ("state_dict", "model")
"""Keys under which training programs keep the weights."""


def read_weights(path: Path) -> dict[str, Tensor]:
    """The tensors of a weight file by name, on the CPU; no code in it is executed.

    path: ``.safetensors``, or what ``torch.save`` wrote, also with the weights under ``state_dict`` or ``model``. A
    prefix ``module.`` of all names, from data-parallel training, is removed. Raises :class:`CheckpointError`.
    """
    if not path.is_file():
        raise CheckpointError(f"there is no file {path.resolve()} with the weights of a vision tower.")
    if path.suffix == ".safetensors":
        found: Any = read_tensors(path)
    else:
        try:
            found = torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:  # a damaged pickle may fail in any way
            raise CheckpointError(
                f"{path} cannot be read as tensors alone ({type(error).__name__}: {error}). Save its weights as "
                f".safetensors, or with torch.save(model.state_dict(), …)."
            ) from error
    for key in NESTED:
        if isinstance(found, Mapping) and isinstance(found.get(key), Mapping):
            found = found[key]
    if not isinstance(found, Mapping) or not any(isinstance(value, Tensor) for value in found.values()):
        raise CheckpointError(f"{path} holds no tensors by name, at its top level or under {' or '.join(NESTED)}.")
    tensors = {str(name): value for name, value in found.items() if isinstance(value, Tensor)}
    if all(name.startswith("module.") for name in tensors):
        tensors = {name.removeprefix("module."): value for name, value in tensors.items()}
    return tensors


def in_order(found: Mapping[str, Tensor], needed: Mapping[str, Tensor], source: object) -> dict[str, Tensor]:
    """Tensors of a file in its order, under the names of ``needed`` in theirs; number and shapes must be equal.

    Raises :class:`CheckpointError` that names the first pair that differs.
    """
    for (theirs, tensor), (name, ours) in zip(found.items(), needed.items(), strict=False):
        if tensor.shape != ours.shape:
            raise CheckpointError(
                f"{source} is not in the order of this model: {theirs} is {tuple(tensor.shape)}, where {name} of "
                f"{tuple(ours.shape)} would be."
            )
    if len(found) != len(needed):
        raise CheckpointError(f"{source} holds {len(found)} tensors, and this model {len(needed)}: not the same one.")
    return dict(zip(needed, found.values(), strict=True))


def fit_to_model(found: Mapping[str, Tensor], model: nn.Module, besides: Collection[str]) -> dict[str, Tensor]:
    """The tensors that ``model`` needs: names of original releases converted by timm, position embeddings resampled.

    ``besides``: names that the complete model has, which are left out where ``model`` does not have them.
    """
    needed = model.state_dict()
    kept = {name: tensor for name, tensor in found.items() if name in needed or name not in besides}
    convert = getattr(sys.modules.get(type(model).__module__), "checkpoint_filter_fn", None)
    if convert is None or not state_dict_mismatch(kept, needed):
        return kept
    try:
        converted: dict[str, Tensor] = convert(dict(found), model)
    except Exception:  # it expects certain weights; what is wrong with these is listed by the comparison of names
        return kept
    return {name: tensor for name, tensor in converted.items() if name in needed or name not in besides}
