"""Training state of a checkpoint: optimizer state by parameter name, and the step. Needs torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from forehand.errors import CheckpointError
from forehand.learning.distributed.sharding import gathered, has_parts, like
from forehand.learning.weights import TRAINING_STATE, read_tensors, state_dict_mismatch

STEP = "step"

_OPTIMIZER = "optimizer"
_KINDS: Mapping[type, tuple[str, ...]] = {
    torch.optim.AdamW: ("exp_avg", "exp_avg_sq", STEP),
    torch.optim.SGD: ("momentum_buffer",),
    torch.optim.Muon: ("momentum_buffer",),
}

OptimizerState = Mapping[str, Mapping[str, Tensor]]
"""Parameter name → kind (``step``, ``exp_avg``, ``exp_avg_sq``) → tensor."""


def read_training_state(checkpoint: Path) -> dict[str, Tensor]:
    """The tensors of a checkpoint's :data:`TRAINING_STATE`. Raises :class:`CheckpointError` where there are none."""
    if not (checkpoint / TRAINING_STATE).is_file():
        raise CheckpointError(
            f"{checkpoint} holds no {TRAINING_STATE}: it can be run, but training cannot continue from it."
        )
    return read_tensors(checkpoint / TRAINING_STATE)


def pack_optimizer(state: OptimizerState, *, keep: bool = True) -> dict[str, Tensor]:
    """Optimizer state as tensors of :data:`TRAINING_STATE`: ``optimizer/<kind>/<parameter name>``, on the CPU.

    Quantized state is kept as the tensors that it is made of, ``optimizer/<kind>:<tensor>/<parameter name>``; state that
    is spread over processes is gathered, which all must call this for (:func:`.gathered`, which takes ``keep``).
    """
    tensors = {
        f"{_OPTIMIZER}/{kind}{part}/{name}": tensor
        for name, kinds in state.items()
        for kind, value in kinds.items()
        for part, tensor in _inner(value).items()
    }
    return gathered(tensors, keep=keep)


def _inner(value: Tensor) -> dict[str, Tensor]:
    """The tensors that quantized state is made of, each with ``:`` and its name; others as they are."""
    if (
        has_parts(value)
        or not hasattr(value, "dequantize")
        or not hasattr(value, "__tensor_flatten__")
        or type(value) is Tensor
    ):
        return {"": value}
    return {f":{name}": getattr(value, name) for name in value.__tensor_flatten__()[0]}


def unpack_optimizer(tensors: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    """The inverse of :func:`pack_optimizer`, but for quantized state, which stays apart; other tensors are left out."""
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
        here = {kind: like(value, parameter) for kind, value in kinds.items()}
        for kind in {kind.partition(":")[0] for kind in here if ":" in kind}:
            here[kind] = _quantized(here, kind, parameter.dtype)
        optimizer.state[parameter] = {kind: value for kind, value in here.items() if ":" not in kind}


def _quantized(parts: Mapping[str, Tensor], kind: str, dtype: torch.dtype) -> Tensor:
    """State of torchao's 8-bit optimizers from its tensors."""
    from torchao.optim.subclass_8bit import OptimState8bit

    codes, scale, qmap = (parts[f"{kind}:{name}"] for name in ("codes", "scale", "qmap"))
    made: Tensor = OptimState8bit(codes, scale, qmap, bool((qmap < 0).any()), dtype=dtype)
    return made


def state_kinds(optimizer: torch.optim.Optimizer, parameters: Mapping[str, nn.Parameter]) -> dict[str, tuple[str, ...]]:
    """Kind of state → the names of the ``parameters`` for which ``optimizer`` keeps it; known kinds only."""
    names = {id(parameter): name for name, parameter in parameters.items()}
    found: dict[str, list[str]] = {}
    for part in getattr(optimizer, "parts", [optimizer]):
        kinds = next((kinds for made, kinds in _KINDS.items() if isinstance(part, made)), ())
        for kind in kinds:
            members = [names[id(p)] for group in part.param_groups for p in group["params"] if id(p) in names]
            found.setdefault(kind, []).extend(members)
    return {kind: tuple(members) for kind, members in found.items()}


def optimizer_state_for(
    checkpoint: Path,
    optimizer: torch.optim.Optimizer,
    parameters: Mapping[str, nn.Parameter],
    reinitialize: Sequence[str] = (),
) -> tuple[int, OptimizerState]:
    """The step of a checkpoint, and its state of ``optimizer`` for ``parameters``.

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
    for kind, members in state_kinds(optimizer, parameters).items():
        needed: dict[str, Any] = {n: torch.tensor(0) if kind == STEP else wanted[n] for n in members if n in wanted}
        if listing := state_dict_mismatch({n: kept[n][kind] for n in needed if kind in kept.get(n, ())}, needed):
            raise CheckpointError(
                f"Training cannot go on with the optimizer of {checkpoint.resolve()}: its {kind} does not fit the "
                f"parameters that are trained here.\n{listing}\n"
                f"Begin these anew, reinitialize=[…], or take the weights alone, init_optimizer=false."
            )
    return int(tensors[STEP]), kept
