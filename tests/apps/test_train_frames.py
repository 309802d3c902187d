"""``forehand train`` from each frame store: exact, resumed exactly, and chosen by what fits."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra import compose, initialize_config_module

from forehand.errors import CheckpointError, ConfigurationError
from forehand.learning.checkpoint import fingerprint, read_provenance
from forehand.learning.trainer import Trainer
from forehand_apps.commands.train import train

POLICY: dict[str, Any] = {
    "name": "composed",
    "dim": 8,
    "history": 2,
    "image_size": 24,
    "encoders": {
        "text": {"name": "ngram_text"},
        "state": {"name": "seer/state"},
        "cameras": {"name": "keypoints", "cameras": ["static"], "tokens": 1, "keypoints": 2, "width": 4},
    },
    "backbone": {"name": "seer/backbone", "layers": 1, "heads": 2, "dropout": 0.2},
    "world_model": None,
    "action_head": {"name": "seer/inverse_dynamics", "chunk": 2},
    "reads": {"observation": {"observation": "past"}, "action": {"observation": "past"}},
    "normalization": {"state": "mean_std", "action": "limits"},
    "random_shift": {"static": 2},
    "token_dropout": {},
}


@pytest.fixture
def learn(slider_dataset: Path, tmp_path: Path):
    """Trains the run ``output`` up to a step."""
    (tmp_path / "conf/policy").mkdir(parents=True)
    (tmp_path / "conf/policy/tiny.yaml").write_text(json.dumps(POLICY))
    places = [f"hydra.searchpath=[file://{tmp_path / 'conf'}]", f"dataset={slider_dataset}"]
    fixed = ["policy=tiny", "recipe.batch_size=4", "threads=1", "device=cpu", "decode_workers=2"]
    threads = torch.get_num_threads()

    def run(output: str, steps: int, *more: str) -> Path:
        words = [*places, *fixed, f"output={tmp_path / output}", f"recipe.steps={steps}", *more]
        if not any(word.startswith("cache=") for word in more):
            words.append(f"cache={tmp_path / 'cache'}")
        with initialize_config_module("forehand_apps.conf", version_base="1.3"):
            return train(compose("train", overrides=[*words, "recipe.warmup_steps=0"]))

    yield run
    torch.set_num_threads(threads)


def test_exact_stores_train_to_equal_weights_and_video_keeps_nothing(learn: Any, tmp_path: Path):
    raw = learn("raw", 2, "frames=raw")
    video = learn("video", 2, "frames=video", f"cache={tmp_path / 'other'}")
    assert fingerprint(raw) == fingerprint(video)
    assert list((tmp_path / "cache").rglob("*.npy"))
    assert not list((tmp_path / "other").rglob("*.npy"))
    assert read_provenance(video)["pixels"] == "exact"


@pytest.mark.slow
@pytest.mark.parametrize("store", ["raw", "jpeg", "video"])
def test_a_resumed_training_has_the_batches_of_an_uninterrupted_one(learn: Any, store: str, monkeypatch):
    whole = learn("whole", 4, f"frames={store}")
    begun = learn("begun", 4, f"frames={store}", "recipe.save_every=2", "recipe.keep_checkpoints=9")
    shutil.rmtree(begun)  # as if it had been killed after the second step
    resumed: list[int] = []
    real = Trainer.resume
    monkeypatch.setattr(
        Trainer, "resume", lambda self, path, **given: (real(self, path, **given), resumed.append(self.step))
    )
    again = learn("begun", 4, f"frames={store}", "recipe.save_every=2", "recipe.keep_checkpoints=9", "resume=true")
    assert resumed == [2]
    assert fingerprint(again) == fingerprint(whole)


@pytest.mark.slow
def test_a_run_goes_on_with_the_pixels_that_it_began_with(learn: Any, tmp_path: Path):
    learn("run", 1, "frames=jpeg", "jpeg_quality=60")
    with pytest.raises(CheckpointError, match=r"pixels: was 'jpeg 60', is 'exact'"):
        learn("run", 1, "frames=raw", "resume=true")
    again = learn("run", 1, "frames=auto", "resume=true")
    assert read_provenance(again)["pixels"] == "jpeg 60"
    learn("exact", 1, "frames=raw")
    learn("exact", 1, "frames=video", "resume=true")
    with pytest.raises(CheckpointError, match=r"pixels: was 'exact', is 'jpeg 90'"):
        learn("exact", 1, "frames=jpeg", "resume=true")
    small = learn("exact", 1, "frames=auto", "cache_budget=1", "resume=true", f"cache={tmp_path / 'empty'}")
    assert read_provenance(small)["pixels"] == "exact"


def test_impossible_options_are_refused_before_anything_is_read(learn: Any):
    with pytest.raises(ConfigurationError, match=r"there is no store 'jpg'. Did you mean 'jpeg'"):
        learn("run", 1, "frames=jpg", "dataset=nowhere")
