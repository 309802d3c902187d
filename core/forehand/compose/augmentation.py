"""Image augmentation: random changes of a window's images in training, on the device. Needs torch.

What an augmentation does to a frame is drawn first (:meth:`Augmentation.draw`), by torch's default generators, and then
applied without any randomness (:meth:`Augmentation.apply`); so a frame that is an input at one timestep and a target at
another can be changed alike in both, and training resumes exactly.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor

from forehand.errors import ConfigurationError, nearest

FRAMES = ("each", "window")

Draws = dict[str, Tensor]
"""What was drawn, name → (N, …), a row for each of N frames."""


class Augmentation(ABC):
    """A random change of images; made by ``factory(**options)``, with these options beside its own.

    frames: ``each`` frame is changed by a draw of its own, or all frames of a ``window`` of one camera alike. targets:
    the images that a world model is compared with are changed, too, each like the same frame as an input. probability:
    of being applied at all, drawn for each frame or window.
    """

    def __init__(self, *, frames: str = "window", targets: bool = False, probability: float = 1.0) -> None:
        name = type(self).__name__
        if frames not in FRAMES:
            raise ConfigurationError(f"{name}: frames is each or window, not {frames!r}. {nearest(str(frames), FRAMES)}")
        if not isinstance(targets, bool):
            raise ConfigurationError(f"{name}: targets is true or false, not {targets!r}.")
        self.frames, self.targets = frames, targets
        self.probability = number_between(f"{name}: probability", probability, 0, 1)

    @abstractmethod
    def draw(self, count: int, device: torch.device) -> Draws:
        """What is to be done to ``count`` images, whatever their size."""

    @abstractmethod
    def apply(self, images: Tensor, draws: Draws) -> Tensor:
        """(N, H, W, C) uint8, or float, and what was drawn for each of them → of the same shape and dtype.

        A pure function; each image depends on its own row alone. Floats run from 0 to 1 unless they are normalized.
        """

    def draw_window(self, batch: int, frames: int, device: torch.device) -> Draws:
        """What is to be done to windows of so many frames, name → (batch, frames, …); ``chosen`` (batch, frames) bool."""
        count = batch * frames if self.frames == "each" else batch
        drawn = self.draw(count, device)
        if self.probability < 1:
            drawn = {**drawn, "chosen": torch.rand(count, device=device) < self.probability}
        shaped = {name: values.reshape(batch, -1, *values.shape[1:]) for name, values in drawn.items()}
        return {name: values.expand(-1, frames, *values.shape[2:]) for name, values in shaped.items()}

    def apply_window(self, images: Tensor, draws: Draws) -> Tensor:
        """(B, …, H, W, C) and draws (B, …, …) of the same leading axes → the same shape and dtype."""
        lead = images.ndim - 3
        flat = images.flatten(0, lead - 1)
        rows = {name: values.flatten(0, lead - 1) for name, values in draws.items()}
        chosen = rows.pop("chosen", None)
        changed = self.apply(flat, rows)
        if chosen is not None:
            changed = torch.where(chosen[:, None, None, None], changed, flat)
        return changed.reshape(images.shape)


def number_between(what: str, value: Any, low: float, high: float) -> float:
    """``value``, a number from ``low`` to ``high``; for others raises :class:`ConfigurationError` that says ``what``."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise ConfigurationError(f"{what} must be a number from {low:g} to {high:g}, not {value!r}.")
    return float(value)


def range_between(what: str, value: Any, low: float, high: float) -> tuple[float, float]:
    """``value``, [lowest, highest] or one number for both, within ``low`` … ``high``; see :func:`number_between`."""
    pair = (value, value) if isinstance(value, int | float) else tuple(value)
    if len(pair) != 2 or number_between(what, pair[0], low, high) > number_between(what, pair[1], low, high):
        raise ConfigurationError(f"{what} is a number or [lowest, highest], not {value!r}.")
    return float(pair[0]), float(pair[1])


def uniform(count: int, between: tuple[float, float], device: torch.device) -> Tensor:
    """(count,) numbers of a uniform distribution."""
    return torch.rand(count, device=device) * (between[1] - between[0]) + between[0]
