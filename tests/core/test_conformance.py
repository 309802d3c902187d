"""Every part we register keeps the promises of its kind; a part that is missing here fails the suite."""

from functools import partial

import pytest
import torch

from forehand import conformance, registry
from forehand.checkpoint import build_policy
from forehand.conformance.example import CONTRACT

CAMERAS = ["static", "wrist"]
SMALL_TOWER = {"name": "seer/mae_vit", "width": 32, "layers": 2, "heads": 4, "patch": 8}
FEATURES = {"instructions": torch.randn(3, 512, generator=torch.Generator().manual_seed(0))}

OPTIONS = {
    "encoder": {
        "words": [{}],
        "keypoints": [{"cameras": CAMERAS}, {"cameras": ["wrist"], "tokens": 1}],
        "asked_keypoints": [{"cameras": CAMERAS, "keypoints": 8, "asked": 3}],
        "seer/state": [{"gripper": "width"}, {"gripper": "one_hot"}],
        "seer/clip_text": [{}, {"tower": {"width": 16, "layers": 1, "heads": 2}}],
        "seer/resampler": [{"cameras": CAMERAS, "tower": SMALL_TOWER}, {"cameras": ["wrist"], "tower": SMALL_TOWER}],
    },
    "vision_tower": {"seer/mae_vit": [{k: v for k, v in SMALL_TOWER.items() if k != "name"}]},
    "backbone": {"seer/backbone": [{"layers": 2}, {"layers": 1, "heads": 1, "dropout": 0.0}]},
    "world_model": {
        "seer/foresight": [
            {"cameras": CAMERAS},
            {"cameras": CAMERAS, "target": "pixels", "width": 32, "heads": 4, "patch": 8},
            {"cameras": ["wrist"], "queries": 1, "layers": 1},
        ],
        "appearance_flow": [
            {"cameras": CAMERAS, "share": 0.5},
            {"cameras": ["wrist"], "queries": 1, "width": 8, "cells": 4},
        ],
    },
    "action_head": {"seer/inverse_dynamics": [{}, {"chunk": 1}, {"chunk": 8, "beta": 0.1}]},
}
CHECKED_WITH = {"seer/clip_text": FEATURES}


@pytest.mark.parametrize("kind", OPTIONS)
def test_every_registered_part_is_listed(kind):
    assert {part.name for part in registry().parts(kind)} == set(OPTIONS[kind])


@pytest.mark.parametrize(
    ("kind", "name", "options"),
    [(kind, name, options) for kind, parts in OPTIONS.items() for name, several in parts.items() for options in several],
)
def test_part_conforms(kind, name, options):
    check = getattr(conformance, f"assert_{kind}_conforms")
    check(partial(registry().create, kind, name, **options), **CHECKED_WITH.get(name, {}))


COMPOSED = {
    "name": "composed",
    "dim": 48,
    "history": 3,
    "image_size": 32,
    "encoders": {
        "text": {"name": "words"},
        "state": {"name": "seer/state"},
        "cameras": {"name": "keypoints", "cameras": CAMERAS},
    },
    "backbone": {"name": "seer/backbone", "layers": 2, "heads": 4},
    "world_model": {"name": "seer/foresight", "cameras": CAMERAS, "target": "pixels"},
    "action_head": {"name": "seer/inverse_dynamics"},
    "reads": {
        "observation": {"observation": "past"},
        "foresight": {"observation": "past"},
        "action": {"observation": "past", "foresight": "same"},
    },
    "normalization": {"state": "none", "action": "none"},
}


@pytest.mark.parametrize("without", [None, "world_model"])
def test_composed_policy_conforms(without):
    torch.manual_seed(0)
    config = {**COMPOSED, **({without: None} if without else {})}
    conformance.assert_policy_conforms(lambda: build_policy(config, CONTRACT, {}).eval())


@pytest.mark.parametrize("name", ["still", "random"])
def test_reference_policy_conforms(name):
    conformance.assert_policy_conforms(lambda: registry().create("policy", name, contract=CONTRACT, horizon=4))


def test_tabletop_conforms():
    episode = registry().create("benchmark", "tabletop").episodes(1, seed=0)[0]
    conformance.assert_robot_conforms(partial(registry().create, "robot", "tabletop"), episode)
