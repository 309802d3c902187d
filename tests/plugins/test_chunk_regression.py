"""Loss terms of the chunk regression head."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch

from forehand import registry
from forehand.compose import ActionHead
from forehand.conformance.example import CONTRACT
from forehand.errors import ConfigurationError

ARM, GRIPPER = CONTRACT.action[:2], CONTRACT.action[2:]


def make(action: Any = CONTRACT.action, **options: Any) -> ActionHead:
    given = {"contract": replace(CONTRACT, action=action), "dim": 8, "image_size": 32, "chunk": 2}
    head: ActionHead = registry().create("action_head", "chunk_regression", **given, **options)
    return head


@pytest.mark.parametrize(
    ("loss", "of"),
    [("l1", lambda e: e), ("mse", lambda e: e**2), ("smooth_l1", lambda e: e - 0.5 if e > 1 else e**2 / 2)],
)
def test_motion_and_gripper_are_separate_means_of_the_error(loss: str, of: Callable[[float], float]) -> None:
    head = make(loss=loss, gripper_weight=0.25)
    readout = torch.zeros(1, 1, 2, 8)
    error = torch.tensor([0.5, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0])
    actions = head(readout).detach() + torch.stack([error, 100 * error])
    terms = head.loss(readout, {"actions": actions}, torch.tensor([[[True, False]]]))
    assert terms["motion"].item() == pytest.approx(sum(map(of, (0.5, 2, 3, 4, 5, 6))) / 6, rel=1e-5)
    assert terms["gripper"].item() == pytest.approx(of(7), rel=1e-5)
    assert head.weights == {"motion": 1.0, "gripper": 0.25}


@pytest.mark.parametrize(("action", "term"), [(ARM, "motion"), (GRIPPER, "gripper")])
def test_a_term_without_elements_is_left_out(action: Any, term: str) -> None:
    assert list(make(action).weights) == [term]


def test_an_unknown_loss_is_answered_with_those_there_are() -> None:
    with pytest.raises(ConfigurationError, match=r"unknown loss 'l2'\. .*'l1'"):
        make(loss="l2")
