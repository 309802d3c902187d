"""Policies composed of parts: token groups, and a table of which groups read which. Needs torch."""

from forehand.compose.augmentation import Augmentation
from forehand.compose.parts import (
    ActionHead,
    Backbone,
    DecodesFeatures,
    DecodesImages,
    Encoder,
    FeatureShape,
    IterativeActionHead,
    Pretrained,
    SamplingActionHead,
    StreamingBackbone,
    VisionTower,
    WorldModel,
)
from forehand.compose.policy import ComposedPolicy
from forehand.compose.tokens import Layout, TokenGroup, read_mask

__all__ = [
    "ActionHead",
    "Augmentation",
    "Backbone",
    "ComposedPolicy",
    "DecodesFeatures",
    "DecodesImages",
    "Encoder",
    "FeatureShape",
    "IterativeActionHead",
    "Layout",
    "Pretrained",
    "SamplingActionHead",
    "StreamingBackbone",
    "TokenGroup",
    "VisionTower",
    "WorldModel",
    "read_mask",
]
