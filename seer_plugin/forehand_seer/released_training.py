"""Training state of released checkpoints: AdamW's moments and steps, place in the schedule, epoch.

A released file numbers the parameters of its optimizer and does not name them. Their order is therefore never assumed:
it stands in the file (``param_names``, as torch calls it, in what :func:`released_training` writes), or is stated.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from forehand.errors import CheckpointError, ConfigurationError
from forehand.learning.recipe import Recipe
from forehand.learning.weights import state_dict_mismatch
from forehand_seer.released_names import PREFIX, UNUSED
from forehand_seer.torch_files import read_values

OPTIMIZER, SCHEDULER, EPOCH = "optimizer_state_dict", "lr_scheduler_state_dict", "epoch"
NAMES = "param_names"
AS_WEIGHTS = "weights"
"""The order of an optimizer whose parameters are numbered as the file's weights are."""

_MOMENTS = ("exp_avg", "exp_avg_sq")
_ADAMW = {"betas": [0.9, 0.999], "eps": 1e-8, "amsgrad": False, "maximize": False}


@dataclass(frozen=True)
class ReleasedTraining:
    """What a file says about its training.

    state: AdamW's state by released name, without ``module.``. step: optimizer steps so far. facts: numbers of optimizer,
    scheduler and epoch as they stand in the file.
    """

    state: Mapping[str, Mapping[str, Tensor]]
    step: int
    facts: Mapping[str, Any]


# ---- reading ----------------------------------------------------------------------------------------------------------


def read_training(
    file: Path, weights: Mapping[str, Tensor], trained: Sequence[str], order: str | None
) -> ReleasedTraining | str:
    """The training state in ``file``, or why it is left aside.

    weights: those of the file, by released name, in its order. trained: the names that are trained here. order:
    :data:`AS_WEIGHTS`, or a text file with a released name a line; None: the order that stands in the file. Raises
    :class:`CheckpointError` wherever order and state contradict each other.
    """
    values = read_values(file, (OPTIMIZER, SCHEDULER, EPOCH))
    if OPTIMIZER not in values:
        if order is not None:
            raise CheckpointError(f"{file} holds no {OPTIMIZER}, so optimizer_order has nothing to order. Leave it out.")
        return f"the file holds no {OPTIMIZER}"
    try:
        groups, numbered = values[OPTIMIZER]["param_groups"], values[OPTIMIZER]["state"]
        written = [str(name) for group in groups for name in group.get(NAMES) or ()]
        if order is None and not written:
            return (
                f"its {OPTIMIZER} numbers its parameters and does not name them. If you know that they are in the "
                f"order of the file's weights, state it: optimizer_order={AS_WEIGHTS}; another order is a text file with "
                f"a name a line"
            )
        numbers = [number for group in groups for number in group["params"]]
        if numbers != list(range(len(numbers))) or not set(numbered) <= set(numbers):
            raise _unfit(file, "it does not number its parameters from 0 on")
    except (KeyError, TypeError, AttributeError) as error:
        raise _unfit(file, f"it is not in torch's layout ({type(error).__name__}: {error})") from error
    if order is not None and len(groups) != 1:
        raise _unfit(file, f"it has {len(groups)} groups of parameters, and Seer was trained with one")
    names = _order(file, written, list(weights), order)
    if len(names) != len(numbers):
        raise _unfit(file, f"it has {len(numbers)} parameters, and the stated order names {len(names)}")
    state = {names[number]: _adamw(file, names[number], found) for number, found in numbered.items()}
    _require_settings(file, groups)
    _require_fit(file, state, weights, trained, stated=order is not None)
    step = max((int(kinds["step"]) for kinds in state.values()), default=0)
    schedule = values.get(SCHEDULER) or {}
    if schedule.get("last_epoch", step) != step:
        raise _unfit(file, f"it has taken {step} steps, and the scheduler {schedule['last_epoch']}")
    settings = {key: value for key, value in groups[0].items() if key not in ("params", NAMES)}
    facts = {"step": step, OPTIMIZER: settings, SCHEDULER: schedule, EPOCH: values.get(EPOCH)}
    return ReleasedTraining({name: state[name] for name in trained if name in state}, step, facts)


def _order(file: Path, written: Sequence[str], weights: list[str], order: str | None) -> list[str]:
    """The released names of the parameters by number: as stated, or as written in the file."""
    names = list(written)
    if order == AS_WEIGHTS:
        names = weights
    elif order is not None:
        try:
            names = Path(order).expanduser().read_text(encoding="utf-8").split()
        except (OSError, ValueError) as error:
            raise ConfigurationError(
                f"optimizer_order={order} is neither {AS_WEIGHTS!r} nor a text file with a name a line ({error})."
            ) from error
    names = [name.removeprefix(PREFIX) for name in names]
    if written and [name.removeprefix(PREFIX) for name in written] != names:
        raise CheckpointError(f"{file} states another order of its optimizer than optimizer_order. Leave that out.")
    misfits = {"missing": set(weights) - set(names), "unexpected": set(names) - set(weights)}
    if listing := "; ".join(f"{what}: {', '.join(sorted(some)[:10])}" for what, some in misfits.items() if some):
        raise _unfit(file, f"the stated order does not name the file's weights ({listing})")
    if len(set(names)) != len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise _unfit(file, f"the stated order names {twice} twice")
    return names


def _adamw(file: Path, name: str, found: Any) -> dict[str, Tensor]:
    kinds = {kind: found.get(kind) for kind in ("step", *_MOMENTS)} if isinstance(found, Mapping) else {}
    if isinstance(kinds.get("step"), int | float):  # before torch 1.12
        kinds["step"] = torch.tensor(kinds["step"])
    tensors = {kind: value.float() for kind, value in kinds.items() if isinstance(value, Tensor)}
    if len(tensors) != len(_MOMENTS) + 1 or tensors["step"].numel() != 1:
        raise _unfit(file, f"what it holds of {name} is not AdamW's state: step, {' and '.join(_MOMENTS)}")
    return tensors


def _require_settings(file: Path, groups: Sequence[Mapping[str, Any]]) -> None:
    for group in groups:
        for key, ours in _ADAMW.items():
            if (theirs := group.get(key, ours)) != ours:
                raise _unfit(file, f"its {key} is {theirs}, and training here has {ours}")


def _require_fit(
    file: Path,
    state: Mapping[str, Mapping[str, Tensor]],
    weights: Mapping[str, Tensor],
    trained: Sequence[str],
    stated: bool,
) -> None:
    """Refuse an order that shapes, missing state, or the gradients of unused weights contradict."""
    for kind in _MOMENTS:
        found = {name: kinds[kind] for name, kinds in state.items()}
        if listing := state_dict_mismatch(found, {name: weights[name] for name in found}):
            raise _unfit(file, f"its order is another, since {kind} does not fit the weights:\n{listing}\n ")
    if stated and (missing := [name for name in trained if name not in state]):
        raise _unfit(
            file,
            f"it holds nothing of {len(missing)} weights that are trained, such as {missing[0]}: its order is another, "
            f"or they were not trained",
        )
    for name, kinds in state.items():
        if UNUSED.match(name) and kinds["exp_avg_sq"].any():
            raise _unfit(file, f"its order is another, since {name} would have had gradients, and nothing uses it")


def _unfit(file: Path, reason: str) -> CheckpointError:
    return CheckpointError(
        f"The optimizer in {file.resolve()} cannot be carried over: {reason}. State its true order with optimizer_order, "
        f"or leave the optimizer aside: carry_training=false."
    )


# ---- writing ----------------------------------------------------------------------------------------------------------


def released_training(
    names: Sequence[str], state: Mapping[str, Mapping[str, Tensor]], step: int, facts: Mapping[str, Any]
) -> dict[str, Any]:
    """Optimizer, scheduler and epoch in the released layout, with the parameters' names.

    names: all weights in the order of the file. state: AdamW's state by released name, in the file's shapes. facts: those
    of :class:`ReleasedTraining`.
    """
    numbered = {number: dict(state[name]) for number, name in enumerate(names) if name in state}
    group = {**facts[OPTIMIZER], "params": list(range(len(names))), NAMES: [PREFIX + name for name in names]}
    if "betas" in group:
        group["betas"] = tuple(group["betas"])
    written = {OPTIMIZER: {"state": numbered, "param_groups": [group]}, SCHEDULER: dict(facts[SCHEDULER])}
    return written | ({} if facts[EPOCH] is None else {EPOCH: facts[EPOCH]})


def training_facts(recipe: Recipe, step: int) -> dict[str, Any]:
    """The facts of :class:`ReleasedTraining` about a training with ``recipe``, after so many steps.

    The scheduler is torch's LambdaLR. The epoch is the number, from 0, of the last one that was finished; None before the
    first, and where the recipe does not end epochs with a step.
    """
    rate = recipe.rate(step)
    settings = {"lr": rate, **_ADAMW, "weight_decay": recipe.weight_decay, "initial_lr": recipe.learning_rate}
    unset = {"foreach": None, "capturable": False, "differentiable": False, "fused": None}
    finished = step // recipe.steps_per_epoch if recipe.steps_per_epoch else 0
    return {
        "step": step,
        OPTIMIZER: settings | unset,
        SCHEDULER: {
            "base_lrs": [recipe.learning_rate],
            "last_epoch": step,
            "_step_count": step + 1,
            "_get_lr_called_within_step": False,
            "_last_lr": [rate],
            "lr_lambdas": [None],
        },
        EPOCH: finished - 1 if finished else None,
    }
