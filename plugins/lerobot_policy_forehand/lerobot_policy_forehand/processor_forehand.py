"""LeRobot processors of trainable Forehand policies, with identity normalization: the policy normalizes itself."""

from __future__ import annotations

from typing import Any

from lerobot.processor import make_default_pre_post_processors

from lerobot_policy_forehand.configuration_forehand import ForehandConfig


def make_forehand_pre_post_processors(
    config: ForehandConfig, dataset_stats: dict[str, Any] | None = None, dataset_meta: Any = None
) -> tuple[Any, Any]:
    """Batch and device on the way in, the CPU on the way out."""
    return make_default_pre_post_processors(config, None)
