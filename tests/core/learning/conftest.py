"""Policies of example parts, and trainers of them."""

from pathlib import Path

import pytest
import torch

from forehand.data.dataset import Dataset
from forehand.data.sampling import ShuffledBatches
from forehand.data.windows import WindowDataset
from forehand.learning.checkpoint import build_policy
from forehand.learning.lora import inject_lora, read_lora
from forehand.learning.recipe import Recipe
from forehand.learning.trainer import Trainer

from .runs import POLICY, RECIPE


@pytest.fixture(autouse=True)
def _example_parts(example_parts: None) -> None:
    """Every policy here is composed of example parts."""


@pytest.fixture
def begin(slider_dataset, tmp_path):
    """``begin(folder, **changes)`` → a fresh trainer; changes are of the recipe, of the policy, or ``sources``."""

    def make(folder: Path, *, sources=slider_dataset, callbacks=(), **changes) -> Trainer:
        recipe = Recipe(**(RECIPE | {k: v for k, v in changes.items() if k not in (*POLICY, "lora")}))
        config = POLICY | {k: v for k, v in changes.items() if k in (*POLICY, "lora")}
        torch.manual_seed(recipe.seed)
        data = Dataset.open(sources)
        windows = WindowDataset(
            data, history=config["history"], chunk=2, horizon=None, image_size=32, cameras=["static"], cache=tmp_path
        )
        policy = build_policy(config, data.contract, data.statistics)
        inject_lora(policy, read_lora(config))
        order = ShuffledBatches(len(windows), recipe.batch_size, recipe.seed)
        folder.mkdir(exist_ok=True)
        return Trainer(
            policy,
            lambda step: windows.batch(order.at(step)),
            recipe,
            folder,
            config=config,
            statistics=data.statistics,
            facts={"fingerprint": data.fingerprint},
            callbacks=callbacks,
        )

    return make
