"""An instruction as CLIP understands it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from forehand import Contract
from forehand.compose.parts import INSTRUCTION, Encoder, Inputs
from forehand.compose.tokens import TokenGroup
from forehand.errors import ConfigurationError

WIDTH = 512  # of CLIP ViT-B/32's joint space


class CLIPText(Encoder):
    """One token ``text`` from CLIP ViT-B/32's text feature (projected, not normalised; Radford et al. 2021)."""

    inputs = (INSTRUCTION,)

    def __init__(self, *, contract: Contract, dim: int, image_size: int) -> None:
        super().__init__()
        self.groups = (TokenGroup("text", 1),)
        self.project = nn.Linear(WIDTH, dim)

    def forward(self, inputs: Inputs) -> dict[str, Tensor]:
        """(N, 512) features, or a list of N of them → ``text`` (N, 1, D)."""
        features = inputs[INSTRUCTION]
        if not isinstance(features, Tensor):
            if any(isinstance(feature, str) for feature in features):
                raise ConfigurationError(
                    "seer/clip_text cannot read sentences yet: give it CLIP ViT-B/32 text features (512 numbers an "
                    "instruction), or compose the policy with another text encoder (encoders.text.name=words)."
                )
            features = torch.stack([torch.as_tensor(feature) for feature in features])
        return {"text": self.project(features.to(self.project.weight))[:, None]}
