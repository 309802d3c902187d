"""Numeric precision of a training: autocast, and gradients scaled where float16 would lose small ones. Needs torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

DTYPES: Mapping[str, torch.dtype] = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}

LEAST_SCALE = 1.0
"""Of the loss: gradients that are not finite even so are those of a training that diverges."""

_SCALER = "scaler"


class Precision:
    """Mixed precision by ``name``, a key of :data:`DTYPES`: weights, optimizer and losses stay float32.

    float16 scales the loss (``torch.amp.GradScaler``); a step whose gradient is not finite is then left out, and the
    scale is lowered.
    """

    def __init__(self, name: str, device: torch.device) -> None:
        self.dtype = DTYPES[name]
        self.device = device
        self.scaler = torch.amp.GradScaler(device.type, enabled=name == "float16")

    @property
    def scales(self) -> bool:
        """Whether gradients are scaled, so that one that is not finite is part of the work."""
        return self.scaler.is_enabled()

    def autocast(self) -> torch.autocast:
        """The context in which losses are computed."""
        return torch.autocast(self.device.type, self.dtype, enabled=self.dtype is not torch.float32)

    def backward(self, loss: Tensor) -> None:
        """Add the gradients of ``loss``, scaled."""
        self.scaler.scale(loss).backward()

    def unscale(self, optimizer: torch.optim.Optimizer) -> None:
        """Take the scale from the gradients; once a step, before they are clipped."""
        if self.scales:
            self.scaler.unscale_(optimizer)

    def step(self, optimizer: torch.optim.Optimizer) -> None:
        """A step of ``optimizer``, left out where a scaled gradient is not finite."""
        self.scaler.step(optimizer)
        self.scaler.update()

    @property
    def recovers(self) -> bool:
        """Whether a gradient that is not finite is answered by a lower scale; at :data:`LEAST_SCALE` it is not."""
        return self.scales and self.scaler.get_scale() > LEAST_SCALE

    def state(self) -> dict[str, Tensor]:
        """What :meth:`load_state` needs, as tensors; {} where nothing is scaled."""
        state = self.scaler.state_dict() if self.scales else {}
        return {f"{_SCALER}/{name}": torch.tensor(value) for name, value in state.items()}

    def load_state(self, tensors: Mapping[str, Tensor]) -> None:
        """Continue with the scale among ``tensors``, if there is one; others are left aside."""
        state: dict[str, Any] = {
            name.partition("/")[2]: value.item() for name, value in tensors.items() if name.startswith(_SCALER + "/")
        }
        if state and self.scales:
            self.scaler.load_state_dict(state)
