"""The encoders that are trained from scratch learn what their inputs say, and the keypoints what a sentence asks for."""

from typing import Any

import pytest
import torch
from tests.plugins.overfitting import DIM, SIZE, overfit, squares
from torch import Tensor

from forehand import registry
from forehand.compose.parts import INSTRUCTION
from forehand.conformance.example import CONTRACT

SENTENCES = ["touch the red square", "touch the green square"]
COMMANDS = [f"{verb} the {colour} block" for verb in ("lift", "push") for colour in ("red", "green", "blue", "grey")]


def error_after(name: str, inputs: dict[str, Any], target: Tensor, steps: int, **options: Any) -> float:
    """The error of a trained encoder and readout, in units of the target's variance."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        encoder = registry().create("encoder", name, contract=CONTRACT, dim=DIM, image_size=SIZE, **options)
        error = overfit(encoder.train(), inputs, target, steps, rate=1e-2)[1]
    return error / target.var(dim=0, unbiased=False).mean().item()


@pytest.mark.parametrize("name", ["keypoints", "language_keypoints"])
def test_positions_in_eight_images_are_learned_by_heart(name: str) -> None:
    images, red, _ = squares()
    inputs = {"images.static": images, INSTRUCTION: SENTENCES[:1] * 8}
    assert error_after(name, inputs, red, steps=60, cameras=["static"]) < 0.05


def test_keypoints_of_the_instruction_find_what_it_names() -> None:
    images, red, green = squares()
    inputs = {"images.static": images.repeat(2, 1, 1, 1), INSTRUCTION: [s for s in SENTENCES for _ in range(8)]}
    target = torch.cat([red, green])
    aware, blind = (
        error_after(name, inputs, target, steps=120, cameras=["static"]) for name in ("language_keypoints", "keypoints")
    )
    assert aware < 0.2 * blind


def test_sentences_are_told_apart_by_their_ngrams() -> None:
    assert error_after("ngram_text", {INSTRUCTION: COMMANDS}, torch.eye(8), steps=60) < 0.05


def test_a_function_of_the_state_is_learned() -> None:
    state = torch.randn(8, CONTRACT.state_size, generator=torch.Generator().manual_seed(0))
    target = torch.stack([state[:, 0] * state[:, 1], state[:, 2].abs()], dim=1)
    assert error_after("state_mlp", {"state": state}, target, steps=100, width=32) < 0.05
