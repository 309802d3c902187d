"""State encoder: the robot's proprioceptive state as one token."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from forehand import Contract
from forehand.compose.parts import STATE, Encoder, Inputs
from forehand.compose.tokens import TokenGroup
from forehand.errors import ConfigurationError, nearest
from forehand_seer.gripper_index import split_gripper


def open_or_closed(values: Tensor) -> Tensor:
    """(N, 1) → (N, 2) one-hot: index 0 (closed) where the value is < 1, else index 1 (open)."""
    return F.one_hot((values[:, 0] >= 1).long(), 2).to(values.dtype)


def as_they_are(values: Tensor) -> Tensor:
    """(N, G) → (N, G): finger widths, or whatever the gripper measures."""
    return values


GRIPPERS: Mapping[str, Callable[[Tensor], Tensor]] = {"one_hot": open_or_closed, "width": as_they_are}


class State(Encoder):
    """One token ``state``: arm and gripper each through their own linear map, then both through another.

    Which elements are the gripper's is read from the contract (fields with ``gripper`` stated); a state without any is
    all arm. gripper: ``width`` takes the gripper's elements as they are; ``one_hot`` makes one element into open or
    closed by whether it reaches 1, so it needs a state that is not normalized.
    """

    inputs = (STATE,)
    arm: Tensor
    gripper: Tensor

    def __init__(self, *, contract: Contract, dim: int, image_size: int, gripper: str = "width") -> None:
        super().__init__()
        if gripper not in GRIPPERS:
            raise ConfigurationError(f"seer/state: unknown gripper {gripper!r}. {nearest(gripper, GRIPPERS)}")
        arm, fingers = split_gripper(contract.state)
        if not arm:
            raise ConfigurationError("seer/state: every state field of the contract is a gripper; there is no arm.")
        if gripper == "one_hot" and len(fingers) != 1:
            raise ConfigurationError(
                f"seer/state: gripper 'one_hot' needs one gripper element in the contract's state, not {len(fingers)}; "
                f"use gripper: width."
            )
        self.groups = (TokenGroup("state", 1),)
        self.describe_gripper = GRIPPERS[gripper]
        self.register_buffer("arm", torch.tensor(arm), persistent=False)
        self.register_buffer("gripper", torch.tensor(fingers, dtype=torch.long), persistent=False)
        self.encode_arm = nn.Linear(len(arm), dim)
        self.encode_gripper = nn.Linear(2 if gripper == "one_hot" else len(fingers), dim) if fingers else None
        self.project = nn.Linear(2 * dim if fingers else dim, dim)

    def forward(self, inputs: Inputs) -> dict[str, Tensor]:
        """``state`` (N, S) → ``state`` (N, 1, D)."""
        values = inputs[STATE]
        encoded = self.encode_arm(values[:, self.arm])
        if self.encode_gripper is not None:
            gripper = self.encode_gripper(self.describe_gripper(values[:, self.gripper]))
            encoded = torch.cat([encoded, gripper], dim=-1)
        return {"state": self.project(encoded)[:, None]}
