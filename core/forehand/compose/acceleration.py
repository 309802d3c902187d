"""Inference acceleration of a composed policy: bfloat16 weights, and compiled parts with CUDA graphs. Needs torch."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from forehand.compose.composition import Composition
from forehand.compose.parts import Backbone, StreamingBackbone, VisionTower
from forehand.errors import ConfigurationError

log = logging.getLogger(__name__)

PRECISIONS = ("float32", "bfloat16")
COMPILATIONS: dict[str, dict[str, Any]] = {"default": {}, "cuda_graphs": {"mode": "reduce-overhead"}}


def accelerate(policy: Any, *, precision: str = "float32", compile: str | None = None) -> None:
    """Let ``policy``, a :class:`~forehand.compose.policy.ComposedPolicy` that is not trained any more, answer faster.

    precision: ``bfloat16`` keeps the weights of linear maps and convolutions in that format, and computes in it what
    loses little by it (autocast), the action head apart; answers then differ from those in float32. compile:
    ``default`` compiles vision towers and the backbone with ``torch.compile``; ``cuda_graphs`` also records the launches
    of their kernels, once for each size of batch and length of history (``mode="reduce-overhead"``), which pays where a
    GPU computes small kernels faster than the processor can launch them; None: not compiled. A part that cannot be
    compiled runs uncompiled, with a warning. Raises :class:`ConfigurationError` for unknown settings, and for a policy
    that is not composed.
    """
    if precision not in PRECISIONS:
        raise ConfigurationError(f"policy.precision must be {' or '.join(PRECISIONS)}, not {precision!r}.")
    if compile is not None and compile not in COMPILATIONS:
        raise ConfigurationError(f"policy.compile must be null, {' or '.join(COMPILATIONS)}, not {compile!r}.")
    if precision == "float32" and compile is None:
        return
    if not isinstance(policy, Composition):
        raise ConfigurationError(
            f"policy.precision and policy.compile are for composed policies, and {type(policy).__name__} is none. "
            f"Leave them out."
        )
    if precision == "bfloat16":
        _lower(policy)
    if compile is None:
        return
    for part in policy.modules():
        if isinstance(part, StreamingBackbone):
            part.forward_cached = Compiled(part.forward_cached, **COMPILATIONS[compile])  # type: ignore[method-assign]
        elif isinstance(part, VisionTower | Backbone):
            part.forward = Compiled(part.forward, **COMPILATIONS[compile])  # type: ignore[method-assign]


def _lower(policy: Any) -> None:
    """Keep the weights of maps in bfloat16, so that autocast need not convert them at every step."""
    exact = set(policy.action_head.modules()) if policy.action_head else set()
    for module in policy.modules():
        weight = getattr(module, "weight", None)
        is_map = isinstance(weight, Tensor) and weight.ndim > 1 and not isinstance(module, nn.Embedding)
        if is_map and module not in exact:
            for parameter in module.parameters(recurse=False):
                parameter.data = parameter.data.to(torch.bfloat16)
    policy.inference_precision = torch.bfloat16


class Compiled:
    """A function of tensors by ``torch.compile``, or by itself from the first call on that cannot be compiled.

    Tensors that a CUDA graph leaves behind are copied, since the next call overwrites them.
    """

    def __init__(self, function: Callable[..., Any], **options: Any) -> None:
        self.function, self.compiled = function, torch.compile(function, **options)
        self.graphs = "mode" in options

    def __call__(self, *given: Any, **named: Any) -> Any:
        try:
            found = self.compiled(*given, **named)
            if not self.graphs:
                return found
            return tree_map(lambda value: value.clone() if isinstance(value, Tensor) else value, found)
        except Exception as error:  # compilers fail in many ways, and none of them is a reason not to answer
            found = self.function(*given, **named)  # what was wrong with what was given raises here, too
            self.compiled = self.function
            reason = " ".join(str(error).split("\n")[:2]).strip()  # the second line is the cause, where a backend failed
            log.warning(
                "policy.compile: torch.compile failed with %s: %s. This part runs uncompiled, slower but the same. On a "
                "CPU it needs a C++ compiler (g++), on a GPU Triton; policy.compile=null leaves it out.",
                type(error).__name__,
                reason,
            )
            return found
