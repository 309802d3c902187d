"""Inverse-dynamics action head: a chunk of actions, one query for each."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from forehand import Contract
from forehand.compose.parts import ActionHead, Inputs, LossTerms, known_numbers, masked_mean
from forehand.errors import ConfigurationError, no_actions
from forehand_seer.gripper_index import split_gripper


class InverseDynamics(ActionHead):
    """Seer's action head: the arm's motion by regression, the gripper by the probability that its action is 1.

    It works on normalized actions: the arm in [-1, 1], the gripper -1 or 1 (which elements are the gripper's is read from
    the contract; there may be none). chunk: H, the number of actions. Loss: ``arm``, smooth L1, weight 1; ``gripper``,
    binary cross-entropy, ``gripper_weight``. beta: the error at which smooth L1 turns from a square into a line; 1 is
    Seer's, for which all errors of normalized actions are small, and less makes much of small errors.
    """

    partial = True
    arm: Tensor
    gripper: Tensor
    order: Tensor

    def __init__(
        self,
        *,
        contract: Contract,
        dim: int,
        image_size: int,
        chunk: int = 3,
        gripper_weight: float = 0.01,
        beta: float = 1.0,
    ) -> None:
        super().__init__()
        if not contract.action:
            raise ConfigurationError(no_actions("seer/inverse_dynamics"))
        arm, gripper = split_gripper(contract.action)
        if not arm:
            raise ConfigurationError(
                "seer/inverse_dynamics: every action field of the contract is a gripper; there is no arm."
            )
        self._add_queries(chunk, dim)
        self.chunk, self.beta = chunk, beta
        self.weights = {"arm": 1.0, "gripper": gripper_weight} if gripper else {"arm": 1.0}
        self.register_buffer("arm", torch.tensor(arm), persistent=False)
        self.register_buffer("gripper", torch.tensor(gripper, dtype=torch.long), persistent=False)
        self.register_buffer("order", torch.tensor(arm + gripper).argsort(), persistent=False)
        self.trunk = nn.Sequential(nn.Linear(dim, dim // 2), nn.ReLU(), nn.Linear(dim // 2, dim // 2), nn.ReLU())
        self.arm_motion = nn.Linear(dim // 2, len(arm))
        self.gripper_logit = nn.Linear(dim // 2, len(gripper)) if gripper else None

    def _raw(self, readout: Tensor) -> tuple[Tensor, Tensor | None]:
        hidden = self.trunk(readout)
        logit = None if self.gripper_logit is None else self.gripper_logit(hidden)
        return self.arm_motion(hidden).tanh(), logit

    def forward(self, readout: Tensor) -> Tensor:
        """(..., H, D) readout → (..., H, A) normalized; a gripper of probability p is 2p - 1."""
        arm, logit = self._raw(readout)
        if logit is None:
            return arm
        return torch.cat([arm, 2 * logit.sigmoid() - 1], dim=-1)[..., self.order]

    def loss(self, readout: Tensor, target: Inputs, valid: Tensor) -> LossTerms:
        """``arm`` and ``gripper``, means over the valid actions; a gripper's label is whether its action is > 0."""
        actions, counts = target["actions"], known_numbers(target, valid)
        arm, logit = self._raw(readout)
        error = F.smooth_l1_loss(arm, actions[..., self.arm], reduction="none", beta=self.beta)
        terms = {"arm": masked_mean(error, counts[..., self.arm])}
        if logit is not None:
            labels = (actions[..., self.gripper] > 0).to(logit.dtype)
            doubt = F.binary_cross_entropy_with_logits(logit, labels, reduction="none")
            terms["gripper"] = masked_mean(doubt, counts[..., self.gripper])
        return terms
