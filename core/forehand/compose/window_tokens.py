"""Tokens of a window: those of every encoder at every timestep of it. Needs torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from forehand.compose.parts import FEATURES, IMAGES, INSTRUCTION, SENSORS, STATE, VALID, Inputs
from forehand.compose.tokens import EPISODE

if TYPE_CHECKING:
    from forehand.compose.composition import Composition


def window_tokens(composition: Composition, observation: Inputs) -> dict[str, Tensor]:
    """The tokens of every group at every timestep, name → (B, T, count, D).

    observation: as for :meth:`Composition.readouts`. Of timesteps without images, which nothing reads, tokens are zeros.
    """
    batch, length = observation[STATE].shape[:2]
    held = next((v.shape[1] for k, v in observation.items() if k.startswith((IMAGES, SENSORS, FEATURES))), length)
    some = None if held == length else torch.tensor(composition.seen, device=observation[STATE].device)
    frames = {
        k: (v if some is None or v.shape[1] == held else v[:, some]).flatten(0, 1)
        for k, v in observation.items()
        if k != INSTRUCTION
    }
    instruction = observation[INSTRUCTION]
    frames[INSTRUCTION] = (
        instruction.repeat_interleave(held, dim=0)
        if isinstance(instruction, Tensor)
        else [sentence for sentence in instruction for _ in range(held)]
    )
    once = composition.encode({INSTRUCTION: instruction}, once=True)
    episode = {group.name for group in composition.groups if group.scope == EPISODE}
    repeated = {
        name: t[:, None].expand(-1, 1 if name.removeprefix(VALID) in episode else length, *t.shape[1:])
        for name, t in once.items()
    }
    each = {name: t.unflatten(0, (batch, held)) for name, t in composition.encode(frames, once=False).items()}
    if some is not None:  # tokens of the other timesteps are not read
        each = {n: t.new_zeros(batch, length, *t.shape[2:]).index_copy(1, some, t) for n, t in each.items()}
    return repeated | each
