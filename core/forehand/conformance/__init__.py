"""Conformance checks of plugins' parts, one line in any test::

    from forehand.conformance import assert_world_model_conforms

    def test_my_world_model():
        assert_world_model_conforms(partial(MyWorldModel, horizon=5))

Every check takes a factory and raises AssertionError with a sentence that names the broken promise. Datasets, robots
and policies are checked without torch; the parts of a composed policy (:mod:`forehand.compose.parts`) need it.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from forehand.conformance.action_heads import assert_action_head_conforms
    from forehand.conformance.augmentations import assert_augmentation_conforms
    from forehand.conformance.backbones import assert_backbone_conforms
    from forehand.conformance.datasets import assert_dataset_conforms
    from forehand.conformance.encoders import assert_encoder_conforms, assert_vision_tower_conforms
    from forehand.conformance.policies import assert_policy_conforms
    from forehand.conformance.robots import assert_robot_conforms
    from forehand.conformance.world_models import assert_world_model_conforms

_MODULES = {
    "assert_action_head_conforms": "action_heads",
    "assert_augmentation_conforms": "augmentations",
    "assert_backbone_conforms": "backbones",
    "assert_dataset_conforms": "datasets",
    "assert_encoder_conforms": "encoders",
    "assert_policy_conforms": "policies",
    "assert_robot_conforms": "robots",
    "assert_vision_tower_conforms": "encoders",
    "assert_world_model_conforms": "world_models",
}

__all__ = [
    "assert_action_head_conforms",
    "assert_augmentation_conforms",
    "assert_backbone_conforms",
    "assert_dataset_conforms",
    "assert_encoder_conforms",
    "assert_policy_conforms",
    "assert_robot_conforms",
    "assert_vision_tower_conforms",
    "assert_world_model_conforms",
]


def __getattr__(name: str) -> Any:  # so that checking a robot does not import torch
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
