"""Policies composed of parts: token groups, and a table of who reads whom. Needs torch."""

from forehand.compose.parts import (
    ActionHead,
    Backbone,
    Encoder,
    Pretrained,
    StreamingBackbone,
    VisionTower,
    WorldModel,
)
from forehand.compose.policy import ComposedPolicy
from forehand.compose.tokens import Layout, TokenGroup, read_mask

__all__ = [
    "ActionHead",
    "Backbone",
    "ComposedPolicy",
    "Encoder",
    "Layout",
    "Pretrained",
    "StreamingBackbone",
    "TokenGroup",
    "VisionTower",
    "WorldModel",
    "read_mask",
]
