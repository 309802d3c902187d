"""Chunk regression action head: a chunk of continuous actions, one query for each."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch.nn.functional as F
from torch import Tensor, nn

from forehand.compose.parts import ActionHead, Inputs, LossTerms, known_numbers
from forehand.contracts.contract import Contract
from forehand.errors import ConfigurationError, nearest
from forehand_plugins.action_heads.action_terms import ActionTerms

LOSSES: Mapping[str, Callable[..., Tensor]] = {"l1": F.l1_loss, "mse": F.mse_loss, "smooth_l1": F.smooth_l1_loss}


class ChunkRegression(ActionHead):
    """MLP that regresses a chunk of ``chunk`` actions (action chunking, Zhao et al. 2023).

    loss: ``l1``, ``mse`` or ``smooth_l1`` (half the square up to an error of 1, absolute beyond), of normalized actions.
    Its terms are ``gripper``, the mean over the elements of fields whose ``gripper`` sense the contract states, weighted
    by ``gripper_weight``, and ``motion``, the mean over all others, weighted by 1; a term without elements is left out.
    width: of the hidden layer; None: D.
    """

    partial = True

    def __init__(
        self,
        *,
        contract: Contract,
        dim: int,
        image_size: int,
        chunk: int = 8,
        loss: str = "l1",
        gripper_weight: float = 1.0,
        width: int | None = None,
    ) -> None:
        super().__init__()
        if loss not in LOSSES:
            raise ConfigurationError(f"chunk_regression: unknown loss {loss!r}. {nearest(loss, LOSSES)}")
        self.terms = ActionTerms.of(contract, "chunk_regression", gripper_weight)
        self._add_queries(chunk, dim)
        self.chunk, self.error = chunk, LOSSES[loss]
        self.weights = self.terms.weights
        width = width or dim
        self.mlp = nn.Sequential(nn.Linear(dim, width), nn.GELU(), nn.Linear(width, contract.action_size))

    def forward(self, readout: Tensor) -> Tensor:
        """(..., H, D) readout → (..., H, A) actions, normalized."""
        actions: Tensor = self.mlp(readout)
        return actions

    def loss(self, readout: Tensor, target: Inputs, valid: Tensor) -> LossTerms:
        """``motion`` and ``gripper``, means over the valid actions."""
        error = self.error(self(readout), target["actions"], reduction="none")
        return self.terms.means(error, known_numbers(target, valid))
