"""The parts that the core is tested with conform, and so does a policy composed of them."""

from functools import partial

import pytest
import torch

from forehand import conformance, registry
from forehand.conformance.example import CONTRACT
from forehand.learning.checkpoint import build_policy

pytestmark = pytest.mark.usefixtures("example_parts")
CAMERAS = ["static", "wrist"]
COMPOSED = {
    "name": "composed",
    "dim": 48,
    "history": 3,
    "image_size": 32,
    "encoders": {
        "text": {"name": "example/text"},
        "state": {"name": "example/state"},
        "cameras": {"name": "example/images", "cameras": CAMERAS},
    },
    "backbone": {"name": "example/transformer", "layers": 2},
    "world_model": {"name": "example/colour", "cameras": CAMERAS},
    "action_head": {"name": "example/regression"},
    "reads": {
        "observation": {"observation": "past"},
        "foresight": {"observation": "past"},
        "action": {"observation": "past", "foresight": "same"},
    },
    "normalization": {"state": "none", "action": "none"},
}


@pytest.mark.parametrize(
    ("kind", "name", "options"),
    [
        ("encoder", "text", {}),
        ("encoder", "state", {}),
        ("encoder", "words", {}),
        ("encoder", "words", {"scope": "frame"}),
        ("encoder", "images", {"cameras": CAMERAS, "tokens": 2}),
        ("encoder", "features", {"cameras": CAMERAS}),
        ("vision_tower", "patches", {}),
        ("backbone", "transformer", {"layers": 2}),
        ("world_model", "colour", {"cameras": CAMERAS}),
        ("world_model", "future_features", {"cameras": CAMERAS}),
        ("world_model", "future_features", {"cameras": CAMERAS, "horizon": [2]}),
        ("action_head", "regression", {}),
        ("action_head", "sampled", {}),
        ("action_head", "denoised", {}),
    ],
)
def test_part_conforms(kind, name, options):
    check = getattr(conformance, f"assert_{kind}_conforms")
    check(partial(registry().part(kind, f"example/{name}").load(), **options))


@pytest.mark.parametrize("without", [None, "world_model"])
def test_composed_policy_conforms(without):
    torch.manual_seed(0)
    config = {**COMPOSED, **({without: None} if without else {})}
    conformance.assert_policy_conforms(lambda: build_policy(config, CONTRACT, {}).eval())
