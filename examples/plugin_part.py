"""Write an action head, check it, register it, and use it by name.

python examples/plugin_part.py
"""

import numpy as np
from torch import Tensor, nn

from forehand import Contract, registry
from forehand.compose import ActionHead, ComposedPolicy
from forehand.compose.parts import Inputs, LossTerms, masked_mean
from forehand.conformance import assert_action_head_conforms
from forehand.conformance.example import CONTRACT


class LinearHead(ActionHead):
    """One query token for each action of the chunk, one linear map, squared error."""

    def __init__(self, *, contract: Contract, dim: int, image_size: int, chunk: int = 3) -> None:
        super().__init__()
        self._add_queries(chunk, dim)
        self.chunk = chunk
        self.weights = {"squared_error": 1.0}  # of each loss term
        self.decode = nn.Linear(dim, contract.action_size)

    def forward(self, readout: Tensor) -> Tensor:
        """(..., chunk, D) → (..., chunk, A), normalized."""
        return self.decode(readout)

    def loss(self, readout: Tensor, target: Inputs, valid: Tensor) -> LossTerms:
        """The mean over the actions that exist: episodes end inside a chunk."""
        error = (self(readout) - target["actions"]).square().mean(-1)
        return {"squared_error": masked_mean(error, valid)}


if __name__ == "__main__":
    assert_action_head_conforms(LinearHead)  # shapes, gradients, determinism, padding

    # A plugin does this in its `forehand_register` hook, with "module:LinearHead" in place of the class.
    registry().add("action_head", "example/linear", LinearHead, "one linear map, squared error")

    policy = ComposedPolicy(
        contract=CONTRACT,
        statistics={"action": {"mean": np.zeros(7), "std": np.ones(7)}},
        dim=32,
        history=2,
        image_size=48,
        encoders={"text": {"name": "ngram_text"}, "state": {"name": "state_mlp"}},
        backbone={"name": "transformer", "layers": 1, "heads": 2},
        action_head={"name": "example/linear", "chunk": 4},
        reads={"observation": {"observation": "past"}, "action": {"observation": "past"}},
        normalization={"state": "none", "action": "mean_std"},
    )
    print(policy.action_head)
    print(sum(p.numel() for p in policy.parameters()), "parameters; window:", policy.window)
