"""Tensors of which each process has a part, and whole ones. Needs torch."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, TypeGuard

from torch import Tensor

if TYPE_CHECKING:
    from torch.distributed.tensor import DTensor


def has_parts(tensor: Tensor) -> TypeGuard[DTensor]:
    """Whether processes have parts of ``tensor``. Its module takes long to import: until it is, nothing has parts."""
    module = sys.modules.get("torch.distributed.tensor")
    return module is not None and isinstance(tensor, module.DTensor)


def whole(tensor: Tensor) -> Tensor:
    """``tensor`` with all of its parts; where it has some, all processes must call this."""
    return tensor.full_tensor() if has_parts(tensor) else tensor


def part(tensor: Tensor) -> Tensor:
    """The part of ``tensor`` that this process has; all of it, where it has no parts."""
    return tensor.to_local() if has_parts(tensor) else tensor


def like(tensor: Tensor, model: Tensor) -> Tensor:
    """``tensor``, the same in all processes, on the device of ``model`` and in parts as that is; scalars stay whole."""
    tensor = tensor.to(model.device)
    if not has_parts(model) or tensor.shape != model.shape:
        return tensor
    from torch.distributed.tensor import distribute_tensor

    return distribute_tensor(tensor, model.device_mesh, model.placements, src_data_rank=None)


def gathered(tensors: Mapping[str, Tensor], *, keep: bool = True) -> dict[str, Tensor]:
    """Copies of ``tensors`` on the CPU, whole; {} without ``keep``, where another process wants them."""
    found: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        value = whole(tensor.detach())
        if keep:
            found[name] = value.to("cpu", copy=True).contiguous()
    return found
