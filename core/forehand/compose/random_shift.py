"""Random shift of images. Needs torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from forehand.compose.augmentation import Augmentation, Draws
from forehand.errors import ConfigurationError


class Shift(Augmentation):
    """Random shift, the border repeated (DrQ, Yarats et al. 2021; Seer, Tian et al. 2024).

    pixels: p, for a whole number from -p to p on each axis, or [lowest, highest]; pixel (r, c) then shows what was at
    (r + i, c + j). By default each frame is shifted by its own.
    """

    def __init__(self, *, pixels: int | Sequence[int], frames: str = "each", **options: Any) -> None:
        super().__init__(frames=frames, **options)
        between = [-pixels, pixels] if isinstance(pixels, int) else [*pixels] if isinstance(pixels, Sequence) else []
        whole = not isinstance(pixels, bool) and all(isinstance(p, int) for p in between)
        if len(between) != 2 or not whole or between[0] > between[1]:
            raise ConfigurationError(f"shift: pixels is a whole number, or [lowest, highest], not {pixels!r}.")
        self.lowest, self.highest = between

    def draw(self, count: int, device: torch.device) -> Draws:
        """``rows`` and ``columns``, (N,) each."""
        rows, columns = torch.randint(self.lowest, self.highest + 1, (2, count), device=device)
        return {"rows": rows, "columns": columns}

    def apply(self, images: Tensor, draws: Draws) -> Tensor:
        """Frames read at other places of themselves."""
        n, height, width, _ = images.shape
        rows = torch.arange(height, device=images.device) + draws["rows"][:, None]
        columns = torch.arange(width, device=images.device) + draws["columns"][:, None]
        rows, columns = rows.clamp(0, height - 1), columns.clamp(0, width - 1)
        frames = torch.arange(n, device=images.device)
        return images[frames[:, None, None], rows[:, :, None], columns[:, None, :]]
