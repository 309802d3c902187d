"""Trainable policy: what a policy offers so that it can be trained, and its batches. Needs torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from forehand.data.window_spec import WindowSpec

BatchFn = Callable[[int], Mapping[str, Any]]


@runtime_checkable
class TrainablePolicy(Protocol):
    """What a policy offers so that it can be trained, beside being a :class:`torch.nn.Module`.

    What it draws at random in training comes from torch's default generators, so that training can be resumed exactly.
    It may choose the groups of its parameters (:class:`~forehand.learning.parameter_groups.OffersParameterGroups`).
    """

    @property
    def window(self) -> WindowSpec | Mapping[str, Any]:
        """What a window of data must hold, or its options (:func:`forehand.data.window_spec.read_window`)."""

    def load_pretrained(self) -> None:
        """Fill what does not start from scratch; called once, before training."""

    def forward(self, batch: Mapping[str, Any]) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss of a batch of windows, and the terms it is made of, for the log; all scalars."""


def to_device(batch: Any, device: torch.device) -> Any:
    """``batch`` with its tensors on ``device``; everything else as it is."""
    if isinstance(batch, Tensor):
        return batch.to(device, non_blocking=True)
    if isinstance(batch, Mapping):
        return {key: to_device(value, device) for key, value in batch.items()}
    return batch
