"""How a policy is trained, in numbers."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from forehand.errors import ConfigurationError


@dataclass(frozen=True)
class Recipe:
    """How to train. Learning rate: linear warm-up over ``warmup_steps``, then a cosine to zero at ``steps``.

    shares: of the windows drawn, how many come from each dataset, relative to each other; None: by their number.
    gripper_events: how many times as often windows are drawn in which the gripper opens or closes. accumulate:
    batches of ``batch_size`` windows whose gradients are averaged for a step (each batch counts alike), for effective
    batches that do not fit into memory. precision: ``bfloat16`` computes in that format what loses little by it
    (autocast); weights, optimizer and losses stay float32. compile: let ``torch.compile`` fuse what the policy offers
    for it.

    The last three fields decide what is kept, and not what comes out.
    """

    steps: int
    batch_size: int
    learning_rate: float
    seed: int
    weight_decay: float = 1e-4
    warmup_steps: int = 0
    gradient_norm: float = 1.0
    accumulate: int = 1
    precision: str = "float32"
    shares: list[float] | None = None
    gripper_events: float = 1.0
    compile: bool = False
    log_every: int = 20
    save_every: int = 500
    keep: int = 1

    def __post_init__(self) -> None:
        least = {"steps": 0, "batch_size": 1, "accumulate": 1, "seed": 0, "warmup_steps": 0}
        for name, minimum in (least | {"log_every": 1, "save_every": 1, "keep": 1}).items():
            if getattr(self, name) < minimum:
                raise ConfigurationError(f"recipe.{name} must be at least {minimum}, not {getattr(self, name)}.")
        for name in ("learning_rate", "weight_decay", "gradient_norm"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ConfigurationError(f"recipe.{name} must be 0 or a positive number, not {getattr(self, name)}.")
        if not 0 < self.gripper_events < math.inf:
            raise ConfigurationError(f"recipe.gripper_events must be a positive number, not {self.gripper_events}.")
        if self.shares is not None and not (all(0 <= s < math.inf for s in self.shares) and any(self.shares)):
            raise ConfigurationError(f"recipe.shares must be positive numbers, some may be 0; not {self.shares}.")
        if self.precision not in ("float32", "bfloat16"):
            raise ConfigurationError(f"recipe.precision must be float32 or bfloat16, not {self.precision!r}.")

    def rate(self, step: int) -> float:
        """The learning rate of ``step``, counted from 0."""
        if step < self.warmup_steps:
            return self.learning_rate * (step + 1) / self.warmup_steps
        done = (step - self.warmup_steps) / max(1, self.steps - self.warmup_steps)
        return self.learning_rate * 0.5 * (1 + math.cos(math.pi * done))

    @property
    def windows(self) -> int:
        """How many windows a step learns from: the effective batch."""
        return self.batch_size * self.accumulate

    @property
    def decisive(self) -> dict[str, Any]:
        """The fields that decide what comes out."""
        return {name: v for name, v in asdict(self).items() if name not in ("log_every", "save_every", "keep")}
