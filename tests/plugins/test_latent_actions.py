"""Latent actions of a robot whose dynamics are known: learned from frames alone, and told from what they are not."""

import shutil

import numpy as np
import pytest
import torch
from tests.without_columns import without

from forehand.compose.latent_actions import infer_latent_actions
from forehand.data.dataset import Dataset
from forehand.data.recording.commit import commit_episodes, recording_lock, require_same_contract
from forehand.data.recording.recorder import Recorder
from forehand.data.sampling import ShuffledBatches
from forehand.data.windows import WindowDataset
from forehand.errors import ConfigurationError
from forehand.evaluation.open_loop.latent_actions import LatentActionProbe, cross_predicted
from forehand.learning.callbacks.validation import Validation
from forehand.learning.checkpoint import build_policy, load_policy
from forehand.learning.recipe import Recipe
from forehand.learning.trainer import Trainer
from forehand.learning.warm_start import load_pretrained_weights
from forehand.robot import Observation

EPISODES, STEPS = 12, 16
RECIPE = {"steps": 1, "batch_size": 32, "learning_rate": 3e-3, "warmup_steps": 5, "seed": 0, "log_every": 1}
MODEL = {
    "name": "latent_actions",
    "tower": "scene",
    "cameras": ["static"],
    "layer_norm": False,
    "horizon": 1,
    "queries": 1,
    "hidden": 24,
    "layers": 2,
}
POLICY = {
    "name": "composed",
    "dim": 16,
    "history": 1,
    "image_size": 32,
    "towers": {"scene": {"name": "pixel_patches", "patch": 4}},
    "encoders": {
        "text": {"name": "ngram_text", "buckets": 16},
        "cameras": {"name": "keypoints", "cameras": ["static"], "keypoints": 4, "width": 8, "tokens": 1},
    },
    "backbone": {"name": "transformer", "layers": 1, "heads": 2, "dropout": 0.0},
    "world_model": MODEL,
    "action_head": None,
    "reads": {"observation": {"observation": "past"}, "foresight": {"observation": "past"}},
    "normalization": {"state": "mean_std", "action": "mean_std"},
}
ACTING = {
    "action_head": {"name": "chunk_regression", "chunk": 2},
    "reads": POLICY["reads"] | {"action": {"observation": "past", "foresight": "same"}},
}


@pytest.fixture(scope="module")
def play(slider, tmp_path_factory):
    """A slider that is moved at random: what it does next is not to be seen, only what it has done."""
    root, robot, rng = tmp_path_factory.mktemp("play") / "play", slider.Slider(), np.random.default_rng(0)
    with recording_lock(root):
        require_same_contract(root, robot.contract)
        recorder = Recorder(root, robot.contract)
        for index, episode in enumerate(slider.Sliding().episodes(EPISODES, seed=1)):
            seen = robot.reset(episode)
            for _ in range(STEPS):
                inward = np.where(np.abs(robot.position - 0.5) > 0.3, np.sign(0.5 - robot.position), 0)
                action = np.clip(rng.uniform(-0.1, 0.1, 2) + 0.1 * inward, -0.1, 0.1).astype(np.float32)
                recorder.add(seen, robot.act(action))
                seen = robot.observe()
            recorder.save(index, "move about")
        assert commit_episodes(root) == EPISODES
    return root


@pytest.fixture(scope="module")
def video(play, tmp_path_factory):
    return without(play, tmp_path_factory.mktemp("video") / "video", "action", "observation.state")


@pytest.fixture(scope="module")
def train(tmp_path_factory):
    """``train(folder, sources, **changes)`` → a fresh trainer; changes are of the recipe or of the policy."""
    cache = tmp_path_factory.mktemp("cache")

    def make(folder, sources, **changes) -> Trainer:
        torch.manual_seed(0)
        data, config = Dataset.open(sources), POLICY | {k: v for k, v in changes.items() if k in POLICY}
        policy = build_policy(config, data.contract, data.statistics)
        windows = WindowDataset(data, policy.window, cache=cache)
        order = ShuffledBatches(len(windows), 32, 0)
        folder.mkdir(exist_ok=True)
        return Trainer(
            policy,
            lambda number: windows.batch(order.at(number)),
            Recipe(**(RECIPE | {k: v for k, v in changes.items() if k not in POLICY})),
            folder,
            config=config,
            statistics=data.statistics,
            facts={"fingerprint": data.fingerprint},
        )

    return make


def batch_of(policy, root, cache, moments=(0, 1, 20)):
    return WindowDataset(Dataset.open(root), policy.window, cache=cache).batch(moments)


def ignore(entry):
    pass


@pytest.mark.slow
@pytest.mark.parametrize("bottleneck", ["fsq", "gaussian"])
def test_latent_actions_of_video_alone_say_what_was_done(train, play, video, tmp_path, bottleneck):
    parts = {"world_model": MODEL | {"bottleneck": bottleneck}, "encoders": {"text": POLICY["encoders"]["text"]}}
    trainer = train(tmp_path / "run", video, **parts, steps=100)
    probe = LatentActionProbe(Dataset.open(play), trainer.policy, None, cache=tmp_path)
    log = []
    trainer.run(log.append)
    policy = load_policy(tmp_path / "run").eval()
    assert log[-1]["reconstruction"] < 0.6  # of the change
    if bottleneck == "fsq":
        assert 8 < log[-1]["perplexity"] <= 32  # a batch has 32 pairs
    assert probe(policy)["position/r_squared"] > 0.75

    latent, actions, rows = probe.examples(policy)
    assert len(rows) == EPISODES * (STEPS - 1)  # the last frame of an episode has no later one
    moved, fold = actions[:, 0], rows // STEPS % 5
    for number, said in enumerate((latent, np.random.default_rng(0).permutation(latent))):
        missed = ((moved - cross_predicted(said, moved, fold)) ** 2).sum() / ((moved - moved.mean(0)) ** 2).sum()
        assert (1 - missed > 0.75, 1 - missed < 0.1)[number]
    few = np.where(np.isin(fold, (0, 1)), 0, 1)  # 5 of 12 episodes label the others
    missed = (moved - cross_predicted(latent, moved, few))[few == 1]
    assert (missed**2).sum() < 0.3 * ((moved[few == 1] - moved[few == 1].mean(0)) ** 2).sum()


def test_latent_actions_come_from_the_frames_alone(train, play, tmp_path):
    policy = train(tmp_path / "run", play, world_model=MODEL | {"bottleneck": "gaussian"}).policy.eval()
    batch = batch_of(policy, play, tmp_path)
    latent, there = infer_latent_actions(policy, batch)
    assert latent.shape == (3, 1, 4)
    assert there.all()
    seen, target = batch["observation"], batch["target"]
    other = {**seen, "state": seen["state"] + 1, "instruction": ["go"] * 3}
    told = {**target, "actions": target["actions"] + 1}
    assert torch.equal(infer_latent_actions(policy, {"observation": other, "target": told})[0], latent)
    later = {**target, "future.static": seen["images.static"]}
    assert not torch.equal(infer_latent_actions(policy, {"observation": seen, "target": later})[0], latent)


@pytest.mark.slow
def test_later_frames_change_no_action_and_no_forecast(train, play, tmp_path):
    policy = train(tmp_path / "run", play, **ACTING).policy.eval()
    batch = batch_of(policy, play, tmp_path)
    _, terms = policy(batch)
    later = batch["target"] | {"future.static": batch["target"]["future.static"].flip(2)}
    _, changed = policy({**batch, "target": later})
    assert torch.equal(changed["motion"], terms["motion"])
    assert not torch.equal(changed["foresight"], terms["foresight"])
    with torch.no_grad():
        readouts = policy.readouts(batch["observation"])
        images = batch["observation"] | {"images.static": batch["observation"]["images.static"].flip(2)}
        assert not torch.equal(policy.readouts(images)["action"], readouts["action"])

    frame = {c: batch["observation"]["images.static"][0, 0].numpy() for c in ("static", "wrist")}
    robot = Observation(images=frame, state=batch["observation"]["state"][0, 0].numpy(), time=0.0)
    plain, shown = (policy.step([policy.open("")], [robot], forecast=wanted)[0] for wanted in (False, True))
    assert np.array_equal(plain.actions, shown.actions)
    assert shown.forecasts[0].features["scene.static"].shape == (8, 8, 48)


@pytest.mark.slow
def test_what_the_latents_taught_goes_into_a_policy_of_few_actions(train, play, video, tmp_path):
    train(tmp_path / "latents", video, steps=2).run(ignore)
    few = [{"path": str(play), "episodes": "0:3"}, {"path": str(video), "cameras": {"wrist": None}}]
    fixed = ACTING | {"world_model": MODEL | {"train_latents": False}}
    trainer = train(tmp_path / "run", few, **fixed, steps=2)
    facts = load_pretrained_weights(trainer.policy, tmp_path / "latents", partial=True)
    assert {name.split(".")[0] for name in facts["not_filled"]} == {"action_head"}
    before = {name: value.clone() for name, value in trainer.policy.state_dict().items()}
    log = []
    trainer.run(log.append)
    assert {"foresight", "reconstruction", "perplexity", "motion"} <= log[-1].keys()
    changed = {name for name, value in trainer.policy.state_dict().items() if not torch.equal(value, before[name])}
    assert {name.split(".")[1] for name in changed if name.startswith("world_model.")} == {"predict", "queries"}
    assert {name.split(".")[0] for name in changed} == {"encoders", "backbone", "world_model", "action_head"}


@pytest.mark.slow
@pytest.mark.parametrize("bottleneck", ["fsq", "gaussian"])
def test_a_training_that_is_resumed_ends_as_one_that_was_not(train, video, tmp_path, bottleneck):
    changes = {"world_model": MODEL | {"bottleneck": bottleneck}, "steps": 4, "save_every": 2, "keep_checkpoints": 2}
    whole = train(tmp_path / "whole", video, **changes)
    whole.run(ignore)
    resumed = train(tmp_path / "resumed", video, **changes)
    resumed.resume(tmp_path / "whole/checkpoints/step_0000002")
    resumed.run(ignore)
    for name, value in whole.policy.state_dict().items():
        assert torch.equal(value, resumed.policy.state_dict()[name]), name


def test_validation_measures_them_of_one_episode_too(train, play, tmp_path):
    trainer = train(tmp_path / "run", play)
    one = Dataset.open([{"path": str(play), "episodes": "0:1"}])
    probe = LatentActionProbe(one, trainer.policy, 10, cache=tmp_path)
    windows = WindowDataset(one, trainer.policy.window, cache=tmp_path)
    found = Validation(1, windows, latent_actions={"": probe}).measure(trainer)
    assert np.isfinite(found["validation/latent_actions/position/r_squared"])
    assert found["validation/perplexity"] >= 1


def test_absolute_actions_are_judged_as_changes(train, play, tmp_path):
    shutil.copytree(play, tmp_path / "absolute")
    stated = tmp_path / "absolute/meta/forehand_contract.json"
    stated.write_text(stated.read_text().replace('"delta"', '"absolute"'))
    data = Dataset.open(tmp_path / "absolute")
    policy = train(tmp_path / "run", play).policy.eval()
    _, actions, frames = LatentActionProbe(data, policy, None, cache=tmp_path).examples(policy)
    np.testing.assert_allclose(actions[:, 0], (data.episodes.actions - data.episodes.states)[frames], atol=1e-6)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"bottleneck": "vq"}, "unknown bottleneck 'vq'"),
        ({"levels": [5, 1]}, "levels are whole numbers of 2 or more"),
        ({"cameras": []}, "it sees no camera"),
    ],
)
def test_what_cannot_be_is_refused(play, changes, message):
    data = Dataset.open(play)
    with pytest.raises(ConfigurationError, match=message):
        build_policy(POLICY | {"world_model": MODEL | changes}, data.contract, data.statistics)
