"""``forehand train`` on a part of a dataset, and on a mixture in a file."""

import json
from pathlib import Path

import pytest

from forehand.data.lerobot.episodes import read_episodes
from forehand.learning.checkpoint import latest_checkpoint, read_provenance

PARTS = Path(__file__).parents[1] / "data/parts"
POLICY = {
    "name": "composed",
    "dim": 16,
    "history": 2,
    "image_size": 16,
    "encoders": {
        "text": {"name": "ngram_text"},
        "state": {"name": "seer/state"},
        "cameras": {"name": "keypoints", "cameras": ["static"], "tokens": 2, "keypoints": 4, "width": 8},
    },
    "backbone": {"name": "seer/backbone", "layers": 1, "heads": 2},
    "action_head": {"name": "seer/inverse_dynamics", "chunk": 2},
    "reads": {"observation": {"observation": "past"}, "action": {"observation": "past"}},
    "normalization": {"state": "mean_std", "action": "limits"},
}


@pytest.fixture
def train(forehand, tmp_path):
    """Runs ``forehand train`` of a tiny policy for a step, with more words; gives its CompletedProcess."""
    (tmp_path / "conf/policy").mkdir(parents=True)
    (tmp_path / "conf/policy/tiny.yaml").write_text(json.dumps(POLICY))
    words = [f"hydra.searchpath=[file://{tmp_path / 'conf'}]", "policy=tiny", "recipe.batch_size=4", "output=run"]
    words += [f"cache={tmp_path / 'cache'}", "device=cpu"]
    return lambda *more, steps=1: forehand("train", *words, f"recipe.steps={steps}", *more)


@pytest.mark.slow
def test_what_was_left_out_is_printed_and_kept_in_the_checkpoint(train, slider_dataset, tmp_path):
    frames = len(read_episodes(slider_dataset))
    (tmp_path / "mixture.yaml").write_text(
        json.dumps({"sources": [{"path": str(slider_dataset), "weight": 1}], "split": "train", "seed": 3})
    )
    done = train("dataset={mixture: mixture.yaml, instructions: [task], validation_fraction: 0.3}")
    assert done.returncode == 0, done.stderr
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("left out")]
    assert line.startswith(f"left out of {slider_dataset}: split train: kept for validation: 1 episodes, ")
    provenance = read_provenance(latest_checkpoint(tmp_path / "run"))
    (kept,) = provenance["left_out"][str(slider_dataset)]
    assert kept["episodes"] == 1
    assert f"{frames - kept['frames']} windows of 2 episodes" in done.stderr
    assert provenance["dataset"] == {"mixture": "mixture.yaml", "instructions": ["task"], "validation_fraction": 0.3}

    other = train("dataset=mixture.yaml", "resume=true", steps=2)  # another share of the episodes
    assert other.returncode == 2
    assert "dataset fingerprint: was" in other.stderr


@pytest.mark.slow
def test_mistakes_in_a_choice_are_reported_before_training(train, slider_dataset):
    for options, message in (
        ("episodes: [7]", "there is no episode 7; there are 3, from 0 to 2"),
        ("where: {speed: {above: 1}}", "where.speed: there is no column 'speed'"),
        ("tasks: [slide up]", "no episode has 'slide up'. Its tasks are"),
    ):
        done = train(f"dataset={{path: {slider_dataset}, {options}}}")
        assert done.returncode == 2, done.stderr
        assert message in " ".join(done.stderr.split())


def test_a_policy_that_cannot_mask_a_missing_state_is_refused(forehand, slider_dataset, tmp_path):
    (tmp_path / "conf/policy").mkdir(parents=True)
    (tmp_path / "conf/policy/offsets.yaml").write_text(json.dumps({"name": "example/offsets", "chunk": 3}))
    words = [f"hydra.searchpath=[file://{tmp_path / 'conf'}]", "policy=offsets", "output=run", "recipe.steps=1"]
    sources = f"dataset=[{slider_dataset}, {{path: {slider_dataset}, state: []}}]"
    done = forehand("train", *words, sources, "device=cpu", PYTHONPATH=str(PARTS), FOREHAND_PLUGINS="stock,seer,example")
    assert done.returncode == 2, done.stderr
    assert "some sources have no state, which only composed policies can mask" in done.stderr


@pytest.mark.slow
def test_what_can_be_learned_without_actions_is_and_the_rest_is_refused(train, forehand, slider_dataset, monkeypatch):
    def counted(*arguments):
        read.append(arguments)
        return read_episodes(*arguments)

    read = []
    monkeypatch.setattr("forehand.data.lerobot.source.read_episodes", counted)
    source = f"dataset={{path: {slider_dataset}, action: [], validation_fraction: 0.3}}"
    refused = train(source)
    assert refused.returncode == 2
    assert "seer/inverse_dynamics: the data have no actions to learn" in refused.stderr
    assert "policy.action_head=null" in refused.stderr
    model = "+policy.world_model={name: appearance_flow, cameras: [static], horizon: 1, queries: 1}"
    reads = "+policy.reads.foresight={observation: past}"
    read.clear()
    done = train(source, "policy.action_head=null", model, reads, "validation.every=1")
    assert done.returncode == 0, done.stderr
    assert len(read) == 1  # validation has the tables of the training
    assert "step 1: validation/loss" in done.stderr
    assert "validation/action" not in done.stderr
    assert "Serve it with" not in done.stderr
    served = forehand("serve", "policy.checkpoint=run", "policy.device=cpu")
    assert served.returncode == 2
    assert "run predicts no actions, so there is nothing to serve" in served.stderr


@pytest.mark.slow
def test_what_latent_actions_of_video_say_is_told_by_other_data_with_actions(forehand, slider_dataset, tmp_path):
    video = f"dataset={{path: {slider_dataset}, action: [], state: []}}"
    blind = ["policy.action_head=null", "policy.encoders.state=null", "policy.encoders.cameras.cameras=[static]"]
    small = ["policy.image_size=32", "policy.dim=16", "policy.backbone.layers=1", "recipe.steps=1", "recipe.batch_size=4"]
    judged = ["validation.every=1", f"validation.dataset={slider_dataset}", f"cache={tmp_path / 'cache'}", "device=cpu"]
    done = forehand("train", "policy=latent_actions", video, "output=run", *blind, *small, *judged)
    assert done.returncode == 0, done.stderr
    assert "validation/latent_actions/position/r_squared" in done.stderr
    assert "validation/action_error" not in done.stderr
