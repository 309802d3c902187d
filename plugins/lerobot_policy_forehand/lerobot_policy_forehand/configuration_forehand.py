"""LeRobot configuration of a policy that LeRobot trains: ``--policy.type=forehand --policy.config=seer_small``."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field

from lerobot.configs import NormalizationMode, PreTrainedConfig
from lerobot.optim import AdamWConfig, LRSchedulerConfig
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from lerobot_policy_forehand.composition import read_composition, window_numbers


@LRSchedulerConfig.register_subclass("forehand_cosine")
@dataclass
class ForehandCosineConfig(LRSchedulerConfig):
    """The schedule of ``forehand train``: a linear warm-up, then a cosine that ends at 0 with the training."""

    num_warmup_steps: int = 100

    def build(self, optimizer: Optimizer, num_training_steps: int) -> LambdaLR:
        """The scheduler for that many steps."""
        warmup = self.num_warmup_steps

        def factor(step: int) -> float:
            if step < warmup:
                return (step + 1) / warmup
            return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, num_training_steps - warmup)))

        return LambdaLR(optimizer, factor)


@PreTrainedConfig.register_subclass("forehand")
@dataclass
class ForehandConfig(PreTrainedConfig):
    """A policy composed of Forehand's parts.

    config: the name of its configuration, as in ``forehand train policy=…``, or a YAML file; overrides: changes of it,
    as on that command line (``policy.dim=128``). n_action_steps: how many actions of each chunk are carried out before
    the next is computed.

    composition, contract, statistics: what a saved policy is made of, JSON; they are found by ``config`` and the dataset.
    """

    config: str = "seer_small"
    overrides: list[str] = field(default_factory=list)
    n_action_steps: int = 1
    optimizer_lr: float = 1e-3
    optimizer_weight_decay: float = 1e-4
    optimizer_grad_clip_norm: float = 1.0
    scheduler_warmup_steps: int = 100
    composition: str = ""
    contract: str = ""
    statistics: str = ""
    # The policy normalizes itself.
    normalization_mapping: dict[str, NormalizationMode] = field(
        default_factory=lambda: dict.fromkeys(("VISUAL", "STATE", "ACTION"), NormalizationMode.IDENTITY)
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.composition:
            self.composition = json.dumps(read_composition(self.config, self.overrides))

    @property
    def observation_delta_indices(self) -> list[int]:
        """The timesteps from the anchor on, and those that the forecasts of each are compared with."""
        history, _, horizons = window_numbers(json.loads(self.composition))
        return sorted({step + ahead for step in range(history) for ahead in (0, *horizons)})

    @property
    def action_delta_indices(self) -> list[int]:
        """The chunks of all timesteps."""
        history, chunk, _ = window_numbers(json.loads(self.composition))
        return list(range(history + chunk - 1))

    @property
    def reward_delta_indices(self) -> None:
        return None

    def get_optimizer_preset(self) -> AdamWConfig:
        """The optimizer of ``forehand train``."""
        return AdamWConfig(
            lr=self.optimizer_lr,
            weight_decay=self.optimizer_weight_decay,
            grad_clip_norm=self.optimizer_grad_clip_norm,
        )

    def get_scheduler_preset(self) -> ForehandCosineConfig:
        """The schedule of ``forehand train``."""
        return ForehandCosineConfig(num_warmup_steps=self.scheduler_warmup_steps)

    def validate_features(self) -> None:
        """Nothing to look at: the policy compares the dataset's contract with its parts when it is built."""
