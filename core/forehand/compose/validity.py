"""Validity of tokens: groups whose tokens are not always all there, as sentences of different lengths. Needs torch.

A state that was not measured, or a camera that a source or an embodiment does not have, is marked by ``<key>_valid``
among the inputs: the tokens that are made of it are not valid, so that nothing reads them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from forehand.compose.parts import FUTURE, IMAGES, VALID, Encoder, Inputs, camera_of
from forehand.compose.tokens import Layout


def hide_invalid(mask: Tensor, valid: Tensor) -> Tensor:
    """The ``mask`` of each row of a batch, in which no token reads one that is not valid.

    mask: (N, P + N) or (B, N, P + N) bool, True: row reads column; the columns end with the rows' own tokens. valid:
    (B, P + N) bool. Returns (B, N, P + N). A token that nothing is left to reads itself, so that its output is finite.
    """
    hidden = mask & valid[:, None]
    rows, columns = hidden.shape[-2:]
    own = torch.eye(rows, columns, dtype=torch.bool, device=mask.device).roll(columns - rows, dims=1)
    return hidden | (own & ~hidden.any(dim=-1, keepdim=True))


def layout_validity(layout: Layout, valid: Mapping[str, Tensor]) -> Tensor:
    """Which tokens of a layout are there, (B, L) bool, from (B, T, count) of those groups that say; all of the others."""
    some = next(iter(valid.values()))
    columns = [
        valid[b.group.name][:, b.timestep]
        if b.group.name in valid
        else torch.ones(len(some), b.group.count, dtype=torch.bool, device=some.device)
        for b in layout.blocks
    ]
    return torch.cat(columns, dim=1)


def hide_absent(tokens: dict[str, Tensor], encoder: Encoder, inputs: Inputs) -> dict[str, Tensor]:
    """The ``tokens`` of an encoder, with the validity of those that are made of inputs that may be absent.

    inputs: ``<key>_valid`` (N,) bool of a key that is not always there, as ``state_valid``.
    """
    found = dict(tokens)
    for group in encoder.groups:
        for key in sorted({_recorded(key) for key in encoder.group_inputs(group.name)}):
            if (there := inputs.get(f"{key}_valid")) is not None:
                there = there[:, None].expand(-1, group.count)
                found[VALID + group.name] = there & found.get(VALID + group.name, there)
    return found


def _recorded(key: str) -> str:
    """What an input is made of: the images, of features."""
    camera = camera_of(key)
    return key if camera is None else IMAGES + camera


def valid_by_camera(cameras: Iterable[str], target: Inputs, there: Tensor) -> tuple[dict[str, Tensor], Tensor]:
    """``future.<camera>_valid`` of each camera, {} where all have what ``there`` says, and what all cameras have."""
    masks = {f"{FUTURE}{camera}_valid": target.get(f"{FUTURE}{camera}_valid") for camera in cameras}
    if all(mask is None for mask in masks.values()):
        return {}, there
    found = {key: there if mask is None else there & mask for key, mask in masks.items()}
    return found, torch.stack([*found.values()]).all(dim=0)
