"""What a composed policy remembers of one robot. Needs torch."""

from __future__ import annotations

import torch
from torch import Tensor

from forehand.policy import Session


class ComposedSession(Session):
    """The tokens of a robot's last frames, each encoded once, and those of its instruction, encoded once for all."""

    def __init__(self, instruction: str) -> None:
        super().__init__(instruction)
        self.frames: list[dict[str, Tensor]] = []
        self.text: dict[str, Tensor] | None = None

    def reset(self, instruction: str | None = None) -> None:
        """Forget the frames; forget the instruction's tokens only if it changes."""
        if instruction is not None and instruction != self.instruction:
            self.text = None
        super().reset(instruction)
        self.frames.clear()

    def add(self, frame: dict[str, Tensor], history: int) -> None:
        """Remember the tokens of the newest frame, group name → (1, count, D), and no more than ``history`` frames."""
        self.frames.append(frame)
        del self.frames[:-history]

    def tokens(self, group: str) -> Tensor:
        """The tokens of one group over the window, (T, count, D)."""
        if self.text and group in self.text:
            return self.text[group].expand(len(self.frames), -1, -1)
        return torch.cat([frame[group] for frame in self.frames])
