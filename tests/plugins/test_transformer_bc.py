"""Presets of stock parts alone, which regress or sample, are trained, loaded and run where no other plugin is."""

import json
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from hydra import compose, initialize_config_module

from forehand import registry
from forehand.conformance import assert_policy_conforms
from forehand.conformance.example import CONTRACT
from forehand.learning.checkpoint import build_policy, load_policy
from forehand.learning.trainer import LOG
from forehand_apps.commands.train import train

SMALL = ("policy.dim=32", "policy.image_size=32", "policy.action_head.chunk=2", "recipe.batch_size=8")
FAST = ("recipe.warmup_steps=0", "recipe.log_every=1", "device=cpu")


@pytest.fixture(autouse=True)
def _only_stock(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("FOREHAND_PLUGINS", "stock")
    registry.cache_clear()
    yield
    registry.cache_clear()


@pytest.mark.slow
@pytest.mark.parametrize("preset", ["transformer_bc", "flow_matching_bc", "act_bc"])
def test_the_preset_trains_loads_and_acts(preset: str, slider_dataset: Path, slider: ModuleType, tmp_path: Path) -> None:
    search = "hydra.searchpath=[pkg://forehand_plugins.conf]"
    places = [search, f"dataset={slider_dataset}", f"output={tmp_path / 'run'}", f"cache={tmp_path / 'cache'}"]
    with initialize_config_module("forehand_apps.conf", version_base="1.3"):
        config = compose("train", overrides=[f"policy={preset}", "recipe.steps=60", *places, *SMALL, *FAST])
    checkpoint = train(config)
    losses = [json.loads(line)["loss"] for line in (tmp_path / "run" / LOG).read_text().splitlines()]
    assert np.mean(losses[-5:]) < 0.5 * np.mean(losses[:5])

    policy = load_policy(checkpoint)
    episode = slider.Sliding().episodes(1, seed=1)[0]
    observation = slider.Slider().reset(episode)
    (prediction,) = policy.step([policy.open(episode.instruction)], [observation])
    assert prediction.actions.shape == (2, 2)
    towards = np.array(slider.TARGETS[episode.task]) - observation.state
    assert prediction.actions[0] @ towards > 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("preset", "history"), [("transformer_bc", 1), ("transformer_bc", 3), ("flow_matching_bc", 3), ("act_bc", 3)]
)
def test_the_preset_conforms(preset: str, history: int) -> None:
    with initialize_config_module("forehand_plugins.conf", version_base=None):
        config = compose(overrides=[f"+policy={preset}", f"policy.history={history}"]).policy
    unit = {"mean": np.zeros(7), "std": np.ones(7)}
    statistics = {"observation.state": unit, "action": unit}
    assert_policy_conforms(lambda: build_policy(config, CONTRACT, statistics).eval())
