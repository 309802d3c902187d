"""``forehand train`` with a policy that is not composed: a window by offsets, image statistics, groups of its own."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from forehand import Observation
from forehand.conformance import assert_policy_conforms
from forehand.data.dataset import Dataset
from forehand.data.lerobot.frames import open_frames
from forehand.data.windows import WindowDataset
from forehand.learning.checkpoint import CONTRACT, latest_checkpoint, load_policy, read_provenance
from forehand.learning.trainer import LOG

PARTS = Path(__file__).parents[1] / "data/parts"
VARIABLES = {"PYTHONPATH": str(PARTS), "FOREHAND_PLUGINS": "stock,seer,example"}


@pytest.fixture
def train_offsets(forehand, slider_dataset, tmp_path):
    """Runs ``forehand train policy=offsets`` with more words; gives its CompletedProcess."""
    (tmp_path / "conf/policy").mkdir(parents=True)
    (tmp_path / "conf/policy/offsets.yaml").write_text(json.dumps({"name": "example/offsets", "chunk": 3}))
    recipe = {"steps": 60, "batch_size": 16, "learning_rate": 0.02, "warmup_steps": 0, "log_every": 1}
    words = [f"recipe.{name}={value}" for name, value in recipe.items()]
    words += [
        f"hydra.searchpath=[file://{tmp_path / 'conf'}]",
        f"dataset={slider_dataset}",
        f"cache={tmp_path / 'cache'}",
    ]
    words += ["policy=offsets", "output=run", "threads=1", "device=cpu"]

    def run(*more):
        threads = torch.get_num_threads()
        try:
            return forehand("train", *words, *more, **VARIABLES)
        finally:
            torch.set_num_threads(threads)

    return run


@pytest.mark.slow
def test_it_learns_and_its_checkpoint_acts(train_offsets, own_process, slider_dataset, tmp_path, monkeypatch):
    batches = []
    original = WindowDataset.batch
    monkeypatch.setattr(WindowDataset, "batch", lambda *a, **o: batches.append(original(*a, **o)) or batches[-1])
    trained = train_offsets("recipe.parameter_groups={head.bias: {learning_rate_scale: 0.1}}")
    assert trained.returncode == 0, trained.stderr

    assert batches[0]["observation"]["images.static"].shape == (16, 2, 16, 16, 3)
    assert batches[0]["observation"]["state_valid"].shape == (16, 2)
    assert batches[0]["target"]["action"].shape == (16, 4, 2)
    losses = [json.loads(line)["loss"] for line in (tmp_path / "run" / LOG).read_text().splitlines()]
    assert len(losses) == 60
    assert sum(losses[-10:]) < 0.5 * sum(losses[:10])

    printed = [line for line in trained.stderr.splitlines() if line.startswith("parameter group")]
    assert [line.removeprefix("parameter group ").partition(":")[0] for line in printed] == [
        "encoder",
        "rest",
        "head.bias",
    ]
    assert printed[2] == "parameter group head.bias: 0.00 M parameters in 1 tensors, learning rate 0.002, weight decay 0"

    checkpoint = latest_checkpoint(tmp_path / "run")
    groups = read_provenance(checkpoint)["parameter_groups"]
    assert [(g["name"], g["tensors"], g["learning_rate"], g["weight_decay"]) for g in groups] == [
        ("encoder", 2, 0.01, 1e-4),
        ("rest", 3, 0.02, 0.0),
        ("head.bias", 1, 0.002, 0.0),
    ]
    kept = json.loads((checkpoint / CONTRACT).read_text())["statistics"]
    assert set(kept) == {"observation.state", "action", "observation.images.static"}
    assert len(kept["observation.images.static"]["mean"]) == 3

    with own_process(**VARIABLES):
        policy = load_policy(checkpoint)
        assert policy.mean.tolist() == pytest.approx(kept["observation.images.static"]["mean"])
        windows = WindowDataset(Dataset.open(slider_dataset), policy.window, episodes=[0], cache=tmp_path / "cache")
        whole = windows.batch(range(len(windows)))  # an episode, from its first frame on
        with torch.inference_mode():
            trained_on = policy.actions(whole["observation"]["images.static"], whole["observation"]["state"])
        frames = open_frames(slider_dataset, "observation.images.static", (32, 32), tmp_path / "cache")
        session = policy.open("slide left")
        for i, state in enumerate(whole["observation"]["state"][:, 1]):
            (prediction,) = policy.step([session], [Observation({"static": frames[i]}, state.numpy(), time=0.0)])
            assert prediction.actions.shape == (3, 2)
            np.testing.assert_allclose(prediction.actions, trained_on[i, 1:], atol=1e-6)
        error = (trained_on - whole["target"]["action"]).square()[whole["target"]["action_valid"]].mean()
        assert error < 0.5 * whole["target"]["action"].square().mean()
        assert_policy_conforms(lambda: load_policy(checkpoint))

    again = train_offsets("recipe.parameter_groups={head.bias: {learning_rate_scale: 0.1}}", "resume=true")
    assert again.returncode == 0, again.stderr
    assert "Continuing from step 60" in again.stderr
    other = train_offsets("resume=true")
    assert other.returncode == 2
    assert "recipe.parameter_groups: was {'head.bias': {'learning_rate_scale': 0.1}}, is None" in other.stderr


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("{heads.*: {frozen: true}}", "'heads.*' matches no parameter of the policy. Did you mean 'head.*'"),
        ("{head.*: {learning_rat: 1}}", "'head.*' has no option 'learning_rat'. Did you mean 'learning_rate'"),
        ("{head.*: {frozen: 3}}", "'head.*': frozen must be true or false, not 3"),
        ("[head]", "recipe.parameter_groups maps names of parameters to options, as {head.*: {frozen: true}}, not"),
        ("{head: 3}", "recipe.parameter_groups: 'head' needs options, as {learning_rate: 1e-5}, not 3"),
    ],
)
def test_groups_that_cannot_be_are_refused_before_anything_is_decoded(train_offsets, tmp_path, given, message):
    refused = train_offsets(f"recipe.parameter_groups={given}")
    assert refused.returncode == 2
    assert message in " ".join(refused.stderr.split())
    assert "Traceback" not in refused.stderr
    assert not (tmp_path / "cache").exists()
