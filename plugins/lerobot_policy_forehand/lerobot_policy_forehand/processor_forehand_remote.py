"""LeRobot processors of the remote policy, with identity normalization."""

from __future__ import annotations

from typing import Any

from lerobot.processor import make_default_pre_post_processors

from lerobot_policy_forehand.configuration_forehand_remote import ForehandRemoteConfig


def make_forehand_remote_pre_post_processors(
    config: ForehandRemoteConfig, dataset_stats: dict[str, Any] | None = None, dataset_meta: Any = None
) -> tuple[Any, Any]:
    """Batch and device on the way in, the CPU on the way out."""
    return make_default_pre_post_processors(config, None)
