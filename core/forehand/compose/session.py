"""What a composed policy remembers of one robot. Needs torch."""

from __future__ import annotations

import torch
from torch import Tensor

from forehand.policy import Session


class ComposedSession(Session):
    """The tokens of a robot's last frames, each encoded once, and those of its instruction, encoded once for all.

    While the window grows also ``memory``: what the tokens of each earlier timestep have left in the backbone, (K, M)
    for those of the groups ``kept``.
    """

    def __init__(self, instruction: str) -> None:
        super().__init__(instruction)
        self.frames: list[dict[str, Tensor]] = []
        self.text: dict[str, Tensor] | None = None
        self.memory: list[Tensor] = []
        self.kept: tuple[str, ...] = ()

    def reset(self, instruction: str | None = None) -> None:
        """Forget the frames; forget the instruction's tokens only if it changes."""
        if instruction is not None and instruction != self.instruction:
            self.text = None
        super().reset(instruction)
        self.frames.clear()
        self.memory.clear()

    def close(self) -> None:
        """Forget everything."""
        self.reset()
        self.text = None

    def add(self, frame: dict[str, Tensor], history: int) -> None:
        """Take the tokens of the newest frame, group name → (1, count, D), and keep no more than ``history`` frames."""
        self.frames.append(frame)
        del self.frames[:-history]

    def tokens(self, group: str) -> Tensor:
        """The tokens of one group over the window, (T, count, D)."""
        if self.text and group in self.text:
            return self.text[group].expand(len(self.frames), -1, -1)
        return torch.cat([frame[group] for frame in self.frames])

    def remembers(self, kept: tuple[str, ...]) -> bool:
        """Whether the memory is what the groups ``kept`` left at every timestep but the newest."""
        return len(self.memory) == len(self.frames) - 1 and (self.kept == kept or not self.memory)

    def past(self, width: int) -> Tensor:
        """The whole memory, (P, ``width``), timestep by timestep."""
        return torch.cat([next(iter(self.frames[-1].values())).new_empty(0, width), *self.memory])

    def remember(self, left: Tensor, kept: tuple[str, ...], history: int) -> None:
        """Take what the newest timestep left, (K, M); a full window forgets: it slides next, and all moves."""
        self.kept = kept
        self.memory.append(left)
        if len(self.frames) == history:
            self.memory.clear()
