"""N-gram text encoder, learned from scratch, with nothing to download."""

from __future__ import annotations

from torch import Tensor, nn

from forehand.compose.parts import INSTRUCTION, Encoder, Inputs
from forehand.compose.tokens import TokenGroup
from forehand.contracts.contract import Contract
from forehand_plugins.encoders.ngrams import NgramEncoder


class NgramText(Encoder):
    """One text token. buckets: size of the hash table of words; width: of their embeddings and of the GRU over them."""

    inputs = (INSTRUCTION,)

    def __init__(self, *, contract: Contract, dim: int, image_size: int, buckets: int = 1024, width: int = 64) -> None:
        super().__init__()
        self.groups = (TokenGroup("text", 1),)
        self.sentences = NgramEncoder(width, buckets)
        self.project = nn.Linear(width, dim)

    def forward(self, inputs: Inputs) -> dict[str, Tensor]:
        """N strings → ``text`` (N, 1, D)."""
        return {"text": self.project(self.sentences(inputs[INSTRUCTION]))[:, None]}
