"""MLP state encoder: the robot's proprioceptive state as one token."""

from __future__ import annotations

from torch import Tensor, nn

from forehand.compose.parts import STATE, Encoder, Inputs
from forehand.compose.tokens import TokenGroup
from forehand.contracts.contract import Contract
from forehand.errors import ConfigurationError


class StateMLP(Encoder):
    """One token ``state`` from the whole state vector. width: of the hidden layer; None: D."""

    inputs = (STATE,)

    def __init__(self, *, contract: Contract, dim: int, image_size: int, width: int | None = None) -> None:
        super().__init__()
        if not contract.state:
            raise ConfigurationError(
                "state_mlp: the contract has no state. Leave the encoder out (set its slot in policy.encoders to null)."
            )
        self.groups = (TokenGroup("state", 1),)
        width = width or dim
        self.mlp = nn.Sequential(nn.Linear(contract.state_size, width), nn.GELU(), nn.Linear(width, dim))

    def forward(self, inputs: Inputs) -> dict[str, Tensor]:
        """``state`` (N, S) → ``state`` (N, 1, D)."""
        return {"state": self.mlp(inputs[STATE])[:, None]}
