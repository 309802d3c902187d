"""Compilation of a policy for training, which falls back to none. Needs torch."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

log = logging.getLogger(__name__)


def compile_policy(policy: Any, device: torch.device, loss: Callable[[], Tensor]) -> None:
    """Compile ``policy``, and try ``loss``, of its next batch, without side effects but gradients.

    Where that fails, the policy is left uncompiled, with a warning.
    """
    try:
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            policy.compile()
            value = loss()
            if value.isfinite():  # else the step itself raises
                value.backward()
    except Exception as error:  # compilers fail in many ways, and none of them is a reason not to train
        for module in policy.modules():
            module._compiled_call_impl = None
        reason = str(error).strip().splitlines()[0] if str(error).strip() else ""
        log.warning(
            "recipe.compile: torch.compile failed with %s: %s. Training continues without it, slower but the same. "
            "On a CPU it needs a C++ compiler (g++), on a GPU Triton; recipe.compile=false leaves it out.",
            type(error).__name__,
            reason,
        )
