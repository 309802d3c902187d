"""Training state of a checkpoint: optimizer state by parameter name, and the step. Needs torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from forehand.errors import CheckpointError
from forehand.learning.weights import read_tensors, state_dict_mismatch

TRAINING_STATE = "training.safetensors"
STEP = "step"

_OPTIMIZER = "optimizer"

OptimizerState = Mapping[str, Mapping[str, Tensor]]
"""Parameter name → kind (``step``, ``exp_avg``, ``exp_avg_sq``) → tensor."""


def read_training_state(checkpoint: Path) -> dict[str, Tensor]:
    """The tensors of a checkpoint's :data:`TRAINING_STATE`. Raises :class:`CheckpointError` where there are none."""
    if not (checkpoint / TRAINING_STATE).is_file():
        raise CheckpointError(
            f"{checkpoint} holds no {TRAINING_STATE}: it can be run, but training cannot continue from it."
        )
    return read_tensors(checkpoint / TRAINING_STATE)


def pack_optimizer(state: OptimizerState) -> dict[str, Tensor]:
    """Optimizer state as tensors of :data:`TRAINING_STATE`: ``optimizer/<kind>/<parameter name>``, on the CPU."""
    return {
        f"{_OPTIMIZER}/{kind}/{name}": value.detach().cpu().contiguous()
        for name, kinds in state.items()
        for kind, value in kinds.items()
    }


def unpack_optimizer(tensors: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    """The inverse of :func:`pack_optimizer`; other tensors are left out."""
    state: dict[str, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        if key.startswith(_OPTIMIZER + "/"):
            _, kind, name = key.split("/", 2)
            state.setdefault(name, {})[kind] = value
    return state


def fill_optimizer(
    optimizer: torch.optim.Optimizer, parameters: Mapping[str, nn.Parameter], state: OptimizerState
) -> None:
    """Set the state of ``optimizer`` for the ``parameters`` that ``state`` names, on their devices."""
    for name, kinds in state.items():
        parameter = parameters[name]
        optimizer.state[parameter] = {kind: value.to(parameter.device) for kind, value in kinds.items()}


def optimizer_state_for(
    checkpoint: Path, parameters: Mapping[str, nn.Parameter], reinitialize: Sequence[str] = ()
) -> tuple[int, OptimizerState]:
    """The step of a checkpoint, and its optimizer state of ``parameters``.

    reinitialize: parameters that begin without, by name or by the beginning of their names. State of other parameters is
    left aside. Raises :class:`CheckpointError` naming the parameters without state and those of another shape.
    """
    tensors = read_training_state(checkpoint)
    found = unpack_optimizer(tensors)
    wanted = {
        name: parameter
        for name, parameter in parameters.items()
        if not any(name == beginning or name.startswith(beginning + ".") for beginning in reinitialize)
    }
    kept = {name: state for name, state in found.items() if name in wanted}
    needed: dict[str, Mapping[str, Any]] = {"exp_avg": wanted, "exp_avg_sq": wanted}
    needed["step"] = dict.fromkeys(wanted, torch.tensor(0))
    for kind in needed:
        if listing := state_dict_mismatch({n: s[kind] for n, s in kept.items() if kind in s}, needed[kind]):
            raise CheckpointError(
                f"Training cannot go on with the optimizer of {checkpoint.resolve()}: its {kind} does not fit the "
                f"parameters that are trained here.\n{listing}\n"
                f"Begin these anew, reinitialize=[…], or take the weights alone, init_optimizer=false."
            )
    return int(tensors[STEP]), kept
