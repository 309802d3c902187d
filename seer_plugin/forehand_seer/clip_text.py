"""CLIP text encoder of instructions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from forehand import Contract
from forehand.compose.parts import INSTRUCTION, Encoder, Inputs
from forehand.compose.tokens import TokenGroup
from forehand.errors import ConfigurationError
from forehand_seer.clip_tower import FEATURES, CLIPTextTower


class CLIPText(Encoder):
    """One token ``text`` from CLIP ViT-B/32's text feature (projected, not normalized; Radford et al. 2021).

    tower: options of :class:`~forehand_seer.clip_tower.CLIPTextTower`, which reads sentences; without one, instructions
    are features that were computed elsewhere.
    """

    inputs = (INSTRUCTION,)

    def __init__(self, *, contract: Contract, dim: int, image_size: int, tower: Mapping[str, Any] | None = None) -> None:
        super().__init__()
        self.groups = (TokenGroup("text", 1),)
        self.tower = CLIPTextTower(**tower) if tower is not None else None
        self.project = nn.Linear(FEATURES, dim)

    def forward(self, inputs: Inputs) -> dict[str, Tensor]:
        """(N, 512) features, or a list of N of them or of N sentences → ``text`` (N, 1, D)."""
        features = inputs[INSTRUCTION]
        if not isinstance(features, Tensor):
            features = self._read(list(features))
        return {"text": self.project(features.to(self.project.weight))[:, None]}

    def _read(self, instructions: list[Any]) -> Tensor:
        if not any(isinstance(instruction, str) for instruction in instructions):
            return torch.stack([torch.as_tensor(feature) for feature in instructions])
        if self.tower is None:
            raise ConfigurationError(
                "this seer/clip_text was composed without CLIP's text tower, so it takes features and no sentences: give "
                f"it {FEATURES} numbers an instruction, or compose it with tower: {{weights: <CLIP ViT-B/32's file>}}."
            )
        read: Tensor = self.tower(instructions)
        return read
