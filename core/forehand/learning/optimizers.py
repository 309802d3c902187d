"""Optimizers by the settings of a recipe. Needs torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from forehand.learning.parameter_groups import ParameterGroup
from forehand.learning.recipe import Recipe


def make_optimizer(groups: Sequence[ParameterGroup], recipe: Recipe) -> torch.optim.Optimizer:
    """The optimizer of ``groups``, one of its groups for each, in their order. The rate of each is its peak."""
    options: list[dict[str, Any]] = [
        {"params": list(g.parameters.values()), "lr": g.learning_rate, "weight_decay": g.weight_decay} for g in groups
    ]
    return torch.optim.AdamW(options, fused=True)
