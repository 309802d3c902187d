"""An encoder in a dozen lines."""

from torch import Tensor, nn

from forehand import Contract
from forehand.compose.parts import STATE, Encoder, Inputs
from forehand.compose.tokens import TokenGroup


class PlainState(Encoder):
    """One token ``state``, linear in the robot's state."""

    inputs = (STATE,)

    def __init__(self, *, contract: Contract, dim: int, image_size: int) -> None:
        super().__init__()
        self.groups = (TokenGroup("state", 1),)
        self.project = nn.Linear(contract.state_size, dim)

    def forward(self, inputs: Inputs) -> dict[str, Tensor]:
        return {"state": self.project(inputs[STATE])[:, None]}
