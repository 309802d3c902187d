"""Tokens of a window: those of every encoder at every timestep of it. Needs torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from forehand.compose.parts import FEATURES, FRAMES, IMAGES, INSTRUCTION, SENSORS, STATE, VALID, Inputs
from forehand.compose.tokens import EPISODE

if TYPE_CHECKING:
    from forehand.compose.composition import Composition


def window_tokens(composition: Composition, observation: Inputs) -> dict[str, Tensor]:
    """The tokens of every group at every timestep, name → (B, T, count, D).

    observation: as for :meth:`Composition.readouts`. Of timesteps without images, which nothing reads, tokens are zeros.
    ``frames``, (B, T): a number of what is seen at each timestep, where windows overlap; each is encoded once.
    """
    observation = dict(observation)
    numbers = observation.pop(FRAMES, None)
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
    place = None
    if numbers is not None:
        numbers = numbers if some is None else numbers[:, some]
        frames, place = _distinct(frames, numbers.flatten())
    once = composition.encode({INSTRUCTION: instruction}, once=True)
    episode = {group.name for group in composition.groups if group.scope == EPISODE}
    repeated = {
        name: t[:, None].expand(-1, 1 if name.removeprefix(VALID) in episode else length, *t.shape[1:])
        for name, t in once.items()
    }
    each = composition.encode(frames, once=False)
    each = {n: (t if place is None else t[place]).unflatten(0, (batch, held)) for n, t in each.items()}
    if some is not None:  # tokens of the other timesteps are not read
        each = {n: t.new_zeros(batch, length, *t.shape[2:]).index_copy(1, some, t) for n, t in each.items()}
    return repeated | each


def _distinct(frames: Inputs, numbers: Tensor) -> tuple[dict[str, Any], Tensor]:
    """The frames (N, ...) of distinct numbers (N,), and where among them each of the N is."""
    found, place = numbers.unique(return_inverse=True)
    every = torch.arange(len(numbers), device=numbers.device)
    first = torch.full_like(found, len(numbers)).scatter_reduce(0, place, every, "amin")
    return {k: v[first] if isinstance(v, Tensor) else [v[i] for i in first.tolist()] for k, v in frames.items()}, place
