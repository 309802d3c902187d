"""A small composed policy, and windows and observations for it."""

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from forehand import Contract, Observation
from forehand.compose import ComposedPolicy
from forehand.conformance import example
from forehand.conformance.example import CONTRACT
from forehand.learning.checkpoint import build_policy

CAMERAS = ["static", "wrist"]
SIZE = 32

CONFIG: dict[str, Any] = {
    "name": "composed",
    "dim": 32,
    "history": 4,
    "image_size": SIZE,
    "encoders": {
        "text": {"name": "example/text"},
        "state": {"name": "example/state"},
        "cameras": {"name": "example/images", "cameras": CAMERAS, "tokens": 2},
    },
    "backbone": {"name": "example/transformer", "layers": 2},
    "world_model": {"name": "example/colour", "cameras": CAMERAS, "horizon": 2},
    "action_head": {"name": "example/regression", "chunk": 2},
    "reads": {
        "observation": {"observation": "past"},
        "foresight": {"observation": "past"},
        "action": {"observation": "past", "foresight": "same"},
    },
    "normalization": {"state": "none", "action": "none"},
}


@pytest.fixture(autouse=True)
def _example_parts(example_parts: None) -> None:
    """Every policy here is composed of example parts."""


def changed(config: Any, changes: dict[str, Any]) -> Any:
    """A copy of ``config`` with dotted keys set."""
    config = copy.deepcopy(config)
    for path, value in changes.items():
        *parents, last = path.split(".")
        place = config
        for parent in parents:
            place = place.setdefault(parent, {})
        place[last] = value
    return config


@pytest.fixture
def make_policy() -> Callable[..., ComposedPolicy]:
    """``make_policy({"dotted.key": value})`` → a policy with the same random weights every time, in eval mode."""

    def make(changes: dict[str, Any] | None = None, contract: Contract = CONTRACT) -> ComposedPolicy:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            policy: ComposedPolicy = build_policy(changed(CONFIG, changes or {}), contract, {})
            return policy.eval()

    return make


@pytest.fixture
def window() -> dict[str, dict[str, Any]]:
    """A batch of two random windows of four steps."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)

        def images() -> torch.Tensor:
            return torch.randint(0, 256, (2, 4, SIZE, SIZE, 3)).byte()

        return {
            "observation": {
                "images.static": images(),
                "images.wrist": images(),
                "state": torch.randn(2, 4, CONTRACT.state_size),
                "instruction": ["lift the red block", "push the green block"],
            },
            "target": {
                "future.static": images(),
                "future.wrist": images(),
                "actions": torch.rand(2, 4, 2, CONTRACT.action_size) * 2 - 1,
                "valid": torch.ones(2, 4, dtype=torch.bool),
                "future_valid": torch.ones(2, 4, dtype=torch.bool),
                "actions_valid": torch.ones(2, 4, 2, dtype=torch.bool),
            },
        }


@pytest.fixture
def frames() -> list[Observation]:
    """Seven random observations, three more than the history."""
    generator = np.random.default_rng(2)
    return [example.observation(CONTRACT, generator, i / CONTRACT.rate) for i in range(7)]


@pytest.fixture
def later(window):
    """The window with the images of two horizons."""
    for camera in CAMERAS:
        future = window["target"][f"future.{camera}"]
        window["target"][f"future.{camera}"] = torch.stack([future, future.flip(0)], dim=2)
    window["target"]["future_valid"] = torch.ones(2, 4, 2, dtype=torch.bool)
    return window
