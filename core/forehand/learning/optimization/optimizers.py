"""Optimizers by the settings of a recipe: AdamW, SGD, Muon, AdamW with 8-bit state. Needs torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from forehand.errors import ConfigurationError, nearest
from forehand.learning.optimization.muon import MuonWithAdamW, muon_matrices
from forehand.learning.parameter_groups import ParameterGroup
from forehand.learning.recipe import Recipe
from forehand.utils.named_options import named_options

PEAK = "peak_lr"
"""Key of an optimizer's groups: the learning rate at the schedule's peak."""

Groups = list[dict[str, Any]]


def make_optimizer(policy: nn.Module, groups: Sequence[ParameterGroup], recipe: Recipe) -> torch.optim.Optimizer:
    """The optimizer of ``groups`` as ``recipe.optimizer`` says; :func:`set_rate` sets its learning rates.

    Raises :class:`ConfigurationError` for an optimizer or an option that there is not, and where a library is missing.
    """
    name, options = named_options("recipe.optimizer", recipe.optimizer)
    if name not in OPTIMIZERS:
        raise ConfigurationError(f"recipe.optimizer: there is no optimizer {name!r}. {nearest(name, OPTIMIZERS)}")
    make, known = OPTIMIZERS[name]
    if unknown := [key for key in options if key not in known]:
        raise ConfigurationError(f"recipe.optimizer {name} has no option {unknown[0]!r}. {nearest(unknown[0], known)}")
    settings: Groups = [
        {
            "params": list(g.parameters.values()),
            "lr": g.learning_rate,
            "weight_decay": g.weight_decay,
            PEAK: g.learning_rate,
        }
        for g in groups
    ]
    try:
        return make(policy, settings, options)
    except (ValueError, TypeError) as error:
        raise ConfigurationError(f"recipe.optimizer {name}: {error}.") from error


def set_rate(optimizer: torch.optim.Optimizer, recipe: Recipe, step: int) -> None:
    """Set the learning rate of every group to that of ``step``."""
    for options in optimizer.param_groups:
        rate = recipe.rate(step, options[PEAK])
        if isinstance(options["lr"], torch.Tensor):  # torchao compiles its step
            options["lr"].fill_(rate)
        else:
            options["lr"] = rate


def _adamw(policy: nn.Module, groups: Groups, options: Mapping[str, Any]) -> torch.optim.Optimizer:
    return torch.optim.AdamW(groups, **_pairs(options), fused=True)


def _sgd(policy: nn.Module, groups: Groups, options: Mapping[str, Any]) -> torch.optim.Optimizer:
    return torch.optim.SGD(groups, **({"momentum": 0.9} | dict(options)))


def _muon(policy: nn.Module, groups: Groups, options: Mapping[str, Any]) -> torch.optim.Optimizer:
    exclude = options.get("exclude", ())
    given = {key: value for key, value in options.items() if key != "exclude"}
    return MuonWithAdamW(groups, muon_matrices(policy, exclude), **_pairs(given))


def _adamw_8bit(policy: nn.Module, groups: Groups, options: Mapping[str, Any]) -> torch.optim.Optimizer:
    try:
        from torchao.optim import AdamW8bit
    except ImportError as error:
        raise ConfigurationError(
            "recipe.optimizer adamw_8bit needs the library torchao, which is not installed: "
            "pip install 'forehand[torchao]'."
        ) from error
    made: torch.optim.Optimizer = AdamW8bit(groups, **_pairs(options))
    return made


def _pairs(options: Mapping[str, Any]) -> dict[str, Any]:
    """``options`` with tuples for lists, as torch wants betas."""
    return {
        key: tuple(value) if isinstance(value, Sequence) and not isinstance(value, str) else value
        for key, value in options.items()
    }


Make = Callable[[nn.Module, Groups, Mapping[str, Any]], torch.optim.Optimizer]

OPTIMIZERS: Mapping[str, tuple[Make, tuple[str, ...]]] = {
    "adamw": (_adamw, ("betas", "eps", "amsgrad")),
    "sgd": (_sgd, ("momentum", "dampening", "nesterov")),
    "muon": (_muon, ("momentum", "nesterov", "ns_steps", "betas", "eps", "exclude")),
    "adamw_8bit": (_adamw_8bit, ("betas", "eps", "amsgrad", "block_size")),
}
"""Name → how it is made, and the options that it takes."""
