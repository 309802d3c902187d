"""Policies of example parts, and trainers of them."""

from pathlib import Path

import pytest

from forehand.learning.trainer import Trainer

from .runs import make_trainer


@pytest.fixture(autouse=True)
def _example_parts(example_parts: None) -> None:
    """Every policy here is composed of example parts."""


@pytest.fixture
def begin(slider_dataset, tmp_path):
    """``begin(folder, **changes)`` → a fresh trainer; changes are of the recipe, of the policy, or ``sources``."""

    def make(folder: Path, *, sources=slider_dataset, **changes) -> Trainer:
        return make_trainer(folder, sources, tmp_path, **changes)

    return make
