"""Initialization of a composition's weights, where its parts' own is not wanted. Needs torch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import nn

from forehand.errors import ConfigurationError, nearest

METHODS: Mapping[str, Mapping[str, Callable[[torch.Tensor], Any]]] = {
    "linear": {
        "xavier_uniform": nn.init.xavier_uniform_,
        "xavier_normal": nn.init.xavier_normal_,
        "orthogonal": nn.init.orthogonal_,
        "normal": lambda weight: nn.init.normal_(weight, std=0.02),
    },
    "queries": {"zeros": nn.init.zeros_, "normal": lambda queries: nn.init.normal_(queries, std=0.02)},
}
"""What is initialized → its methods. linear: the weights of linear maps, and their biases with zeros; queries: those of
world model and action head. ``normal`` has a standard deviation of 0.02."""


def require_initialization(config: Mapping[str, str | None]) -> None:
    """Raise :class:`ConfigurationError` unless ``config`` maps keys of :data:`METHODS` to their methods."""
    for key, method in config.items():
        if key not in METHODS:
            raise ConfigurationError(f"initialization: there is no {key!r}. {nearest(key, METHODS)}")
        if method is not None and method not in METHODS[key]:
            raise ConfigurationError(
                f"initialization: unknown method {method!r} of {key!r}. {nearest(method, METHODS[key])}"
            )


def initialize(config: Mapping[str, str | None], modules: Iterable[nn.Module], queries: Iterable[nn.Parameter]) -> None:
    """Draw weights of ``modules`` and ``queries`` anew, as ``config`` says; what is frozen is left as it is.

    Weights that come from files are read later (:class:`~forehand.compose.parts.Pretrained`).
    """
    if method := config.get("linear"):
        for module in modules:
            if isinstance(module, nn.Linear) and module.weight.requires_grad:
                METHODS["linear"][method](module.weight)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
    if method := config.get("queries"):
        for parameter in queries:
            METHODS["queries"][method](parameter)
