"""Muon for the weight matrices of linear maps, AdamW for all other parameters. Needs torch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from forehand.learning.parameter_groups import matches


class MuonWithAdamW(torch.optim.Optimizer):
    """Muon (Jordan et al. 2024) for ``matrices``, AdamW for what else is in ``groups``.

    Updates of Muon are scaled to the root mean square of AdamW's (Liu et al. 2025), so that both have one learning rate
    and one weight decay. momentum, nesterov, ns_steps: of Muon; betas, eps: of AdamW. parts: these two optimizers.
    """

    def __init__(
        self,
        groups: Sequence[dict[str, Any]],
        matrices: Iterable[Tensor],
        *,
        momentum: float = 0.95,
        nesterov: bool = True,
        ns_steps: int = 5,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
    ) -> None:
        chosen = {id(matrix) for matrix in matrices}
        split: tuple[list[dict[str, Any]], list[dict[str, Any]]] = ([], [])
        for group in groups:
            for inside, part in zip((True, False), split, strict=True):
                if members := [p for p in group["params"] if (id(p) in chosen) is inside]:
                    part.append({**group, "params": members})
        super().__init__([*split[0], *split[1]], {})
        options: dict[str, Any] = {"momentum": momentum, "nesterov": nesterov, "ns_steps": ns_steps}
        self.parts: list[torch.optim.Optimizer] = []
        if split[0]:
            self.parts.append(torch.optim.Muon(split[0], **options, adjust_lr_fn="match_rms_adamw"))
        if split[1]:
            self.parts.append(torch.optim.AdamW(split[1], betas=betas, eps=eps, fused=True))
        self.param_groups = [group for optimizer in self.parts for group in optimizer.param_groups]
        for optimizer in self.parts:
            optimizer.state = self.state

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """One step of both."""
        if closure is not None:
            raise TypeError("MuonWithAdamW takes no closure")
        for optimizer in self.parts:
            optimizer.step()


def muon_matrices(policy: nn.Module, exclude: Sequence[str] = ()) -> list[nn.Parameter]:
    """The weights of the linear maps of ``policy``, but those whose names match a pattern in ``exclude``."""
    found = []
    for path, module in policy.named_modules():
        for name, parameter in module.named_parameters(recurse=False):
            linear = isinstance(module, nn.Linear) and name == "weight"
            linear |= isinstance(module, nn.MultiheadAttention) and name.endswith("proj_weight")
            full = f"{path}.{name}" if path else name
            if linear and not any(matches(pattern, full) for pattern in exclude):
                found.append(parameter)
    return found
