"""Rectified flow: straight paths from noise to actions, times drawn in training, and Euler integration."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

SHIFT, LATEST = 1.5, 0.999
"""Black et al. 2024, appendix B: the time is s(1 - u) with u from Beta(1.5, 1) and s = 0.999: early times, mostly."""

TIMES: Mapping[str, Callable[[Tensor], Tensor]] = {
    "uniform": lambda u: u,
    "beta": lambda u: LATEST * (1 - u ** (1 / SHIFT)),
}
"""Distributions of the training time: uniform numbers from 0 to 1 → times from 0, noise, to 1, actions."""


def draw_path(actions: Tensor, distribution: str) -> tuple[Tensor, Tensor, Tensor]:
    """Points on the paths from fresh noise to (..., H, A) actions, at a time for each chunk (Lipman et al. 2023).

    Returns times τ (...), points τ·actions + (1 - τ)·noise, and velocities actions - noise, (..., H, A) both.
    distribution: of :data:`TIMES`. Random numbers are those of torch's default generators.
    """
    times = TIMES[distribution](torch.rand(actions.shape[:-2], device=actions.device, dtype=actions.dtype))
    noise, at = torch.randn_like(actions), times[..., None, None]
    return times, at * actions + (1 - at) * noise, actions - noise


def integrate(velocity: Callable[[Tensor, Tensor], Tensor], noise: Tensor, steps: int) -> Tensor:
    """Actions from (..., H, A) noise by ``steps`` Euler steps; ``velocity`` takes points and their times, (...)."""
    actions = noise
    for step in range(steps):
        actions = actions + velocity(actions, noise.new_full(noise.shape[:-2], step / steps)) / steps
    return actions
