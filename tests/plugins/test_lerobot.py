"""LeRobot's policies in our loop, and LeRobot's own checkpoints served as they are."""

import json
import shutil

import numpy as np
import pytest
import torch

from forehand import Observation, registry
from forehand.conformance import assert_policy_conforms
from forehand.conformance.example import CONTRACT
from forehand.data.dataset import Dataset
from forehand.data.windows import WindowDataset
from forehand.errors import CheckpointError, ConfigurationError
from forehand.learning.checkpoint import WEIGHTS, load_policy
from forehand.learning.parameter_groups import parameter_groups
from forehand.learning.recipe import Recipe

pytestmark = pytest.mark.slow

SCRATCH = {"pretrained_backbone_weights": None}
ACT = {"chunk_size": 4, "n_action_steps": 4, "dim_model": 16, "n_heads": 2, "dim_feedforward": 16, "latent_dim": 4} | {
    **{"n_encoder_layers": 1, "n_vae_encoder_layers": 1},
    **SCRATCH,
}
DIFFUSION = {"horizon": 8, "n_action_steps": 4, "down_dims": [8, 16], "n_groups": 2, "diffusion_step_embed_dim": 8} | {
    **{"num_train_timesteps": 3, "spatial_softmax_num_keypoints": 4, "use_separate_rgb_encoder_per_camera": False},
    **{"use_group_norm": True},
    **SCRATCH,
}
OPTIONS = {"act": ACT, "diffusion": DIFFUSION}


def statistics(**sizes):
    numbers = {"mean": 0.1, "std": 0.7, "min": -2.0, "max": 2.0}
    return {key: {name: np.full(size, x) for name, x in numbers.items()} for key, size in sizes.items()}


STATISTICS = {
    key.replace("__", "."): value
    for key, value in statistics(
        action=7, observation__state=7, observation__images__static=3, observation__images__wrist=3
    ).items()
}


def make(type="act", *, contract=CONTRACT, statistics=STATISTICS, options=None, **more):
    torch.manual_seed(0)
    chosen = OPTIONS[type] if options is None else options
    return registry().create(
        "policy", "lerobot", contract=contract, statistics=statistics, type=type, options=chosen, **more
    )


@pytest.mark.parametrize(("type", "samples"), [("act", False), ("diffusion", True)])
def test_it_conforms(type, samples):
    policy = make(type)
    assert policy.samples is samples
    assert_policy_conforms(lambda: policy)


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"type": "atc", "options": {}}, "LeRobot has no policy 'atc'. Did you mean 'act'"),
        ({"options": {"chunk_sizes": 4}}, "'act' has no option 'chunk_sizes'. Did you mean 'chunk_size'"),
        ({"options": {"device": "cuda"}}, "policy.options.device is not an option here"),
        ({"options": {"chunk_size": "many"}}, "`chunk_size`: Couldn't parse 'many' into an int"),
        ({"options": {"chunk_size": 4, "n_action_steps": 5}}, "Got 5 for `n_action_steps` and 4 for `chunk_size`"),
        ({"cameras": ["statik"]}, "no camera 'statik'"),
        ({"cameras": []}, "at least one image"),
        ({"statistics": {}}, "normalizes 'observation.images.static', but the data have no statistics of it"),
        ({"type": "tdmpc", "options": {}, "cameras": ["static"]}, "learns from rewards or from later observations"),
    ],
)
def test_what_cannot_be_is_refused_by_name(how, message):
    with pytest.raises(ConfigurationError) as refused:
        make(**how)
    assert message in str(refused.value)


def test_groups_keep_the_ratios_of_lerobots_preset():
    policy = make(options=ACT | {"optimizer_lr": 1e-4, "optimizer_lr_backbone": 1e-5})
    recipe = Recipe(steps=1, batch_size=1, seed=0, learning_rate=0.01, weight_decay=0.0)
    rest, backbone = parameter_groups(policy, recipe)
    assert (rest.learning_rate, backbone.learning_rate) == pytest.approx((0.01, 0.001))
    assert all(name.startswith("policy.model.backbone") for name in backbone.parameters)
    assert not any(name.startswith("policy.model.backbone") for name in rest.parameters)


@pytest.mark.parametrize("type", OPTIONS)
def test_its_batches_are_those_of_lerobots_own_loader(type, slider_dataset, tmp_path):
    from lerobot.datasets.lerobot_dataset import LeRobotDataset

    data = Dataset.open(slider_dataset)
    policy = make(type, contract=data.contract, statistics=data.statistics)
    windows = WindowDataset(data, policy.window, cache=tmp_path)
    seen = []
    policy.policy.register_forward_pre_hook(lambda module, given: seen.append(given[0]))
    loss, _ = policy(windows.batch(range(len(windows))))
    assert loss.isfinite()
    rate, config = data.contract.rate, policy.config
    steps = {"action": config.action_delta_indices}
    if config.observation_delta_indices:
        steps |= dict.fromkeys(config.input_features, config.observation_delta_indices)
    theirs = LeRobotDataset(
        "local/slider",
        root=slider_dataset,
        delta_timestamps={key: [i / rate for i in indices] for key, indices in steps.items()},
    )
    collated = torch.utils.data.default_collate([theirs[i] for i in range(len(theirs))])
    expected = policy.processors("cpu")[0](collated)
    keys = {*config.input_features, "action", "action_is_pad"}
    if config.observation_delta_indices:
        keys |= {f"{key}_is_pad" for key in config.input_features}
    for key in keys:
        assert seen[0][key].shape == expected[key].shape, key
        tolerance = 0.1 if "images" in key else 1e-5  # decoders differ in the last level
        torch.testing.assert_close(seen[0][key], expected[key], rtol=0, atol=tolerance, msg=key)
    assert seen[0]["task"] == expected["task"]
    assert expected["action_is_pad"].any()


def flags(options):
    """The options as they are typed."""
    return ["=".join((f"+policy.options.{k}", "null" if v is None else str(v))) for k, v in options.items()]


def test_the_commands_train_resume_and_evaluate_it(in_process, tmp_path):
    small = ("robot.options.image_size=32", "tasks=[push]", "episodes=1")
    recorded = in_process("record", "robot=tabletop", "output=data", "workers=1", *small)
    assert recorded.returncode == 0, recorded.stderr
    words = ["train", "dataset=data", "policy=lerobot", "policy.type=act", *flags(ACT), "threads=1", "device=cpu"]
    words += ["recipe.steps=3", "recipe.batch_size=4", "recipe.save_every=1", "recipe.keep_checkpoints=3", "cache=cache"]
    assert in_process(*words, "output=whole").returncode == 0
    (tmp_path / "half").mkdir()
    shutil.copytree(tmp_path / "whole/checkpoints/step_0000001", tmp_path / "half/checkpoints/step_0000001")
    resumed = in_process(*words, "output=half", "resume=true")
    assert "Continuing from step 1" in resumed.stderr
    first, *finals = (
        (tmp_path / run / "checkpoints" / f"step_000000{step}" / WEIGHTS).read_bytes()
        for run, step in (("half", 1), ("half", 3), ("whole", 3))
    )
    assert finals[0] == finals[1]
    assert finals[0] != first

    judged = in_process("eval", "policy.checkpoint=whole", *small, "num_videos=0", "output=judged", "policy.device=cpu")
    assert judged.returncode == 0, judged.stderr
    results = json.loads((tmp_path / "judged/results.json").read_text())
    assert results["setup"]["policy_facts"]["policy"] == "lerobot act"
    assert len(results["episodes"]) == 1


@pytest.fixture(scope="module")
def trained(slider_dataset, tmp_path_factory, lerobot_here):
    """The output folder of ``lerobot-train`` with ACT."""
    output = tmp_path_factory.mktemp("lerobot") / "act"
    options = [f"--policy.{name}={'null' if value is None else value}" for name, value in ACT.items()]
    lerobot_here(
        *("lerobot-train", "--dataset.repo_id=local/slider", f"--dataset.root={slider_dataset}"),
        *("--policy.type=act", "--policy.device=cpu", "--policy.push_to_hub=false", "--wandb.enable=false"),
        *(*options, "--batch_size=4", "--num_workers=0", "--steps=2", "--save_freq=2", f"--output_dir={output}"),
    )
    return output


def observations(contract, count):
    generator = np.random.default_rng(0)
    for _ in range(count):
        images = {c.name: generator.integers(0, 256, (c.height, c.width, 3), np.uint8) for c in contract.cameras}
        yield Observation(images, generator.standard_normal(contract.state_size).astype(np.float32), 0.0)


def selected(folder, seen, seeds=()):
    """The actions of LeRobot's own ``select_action`` for what is seen, step by step."""
    from lerobot.configs import PreTrainedConfig
    from lerobot.policies.factory import get_policy_class, make_pre_post_processors

    config = PreTrainedConfig.from_pretrained(folder)
    config.device = "cpu"
    policy = get_policy_class(config.type).from_pretrained(folder, config=config)
    before, after = make_pre_post_processors(config, pretrained_path=str(folder))
    policy.reset()
    for step, observation in enumerate(seen):
        images = {f"observation.images.{c}": torch.from_numpy(i) for c, i in observation.images.items()}
        batch = {key: (image.permute(2, 0, 1) / 255)[None] for key, image in images.items()}
        batch |= {"observation.state": torch.from_numpy(observation.state)[None], "task": ["slide left"]}
        if seeds:
            torch.manual_seed(seeds[step])
        yield after(policy.select_action(before(batch)))[0].numpy()


def test_a_folder_of_lerobot_train_acts_as_in_lerobot(trained, slider_dataset):
    folder = trained / "checkpoints/last/pretrained_model"
    policy = load_policy(trained)
    contract = Dataset.open(slider_dataset).contract
    assert policy.contract == contract  # by the dataset that train_config.json names
    assert policy.describe()["checkpoint"] == str(folder.resolve())
    assert len(policy.describe()["trained_on"]["min"]) == contract.state_size
    seen = list(observations(contract, 4))
    (prediction,) = policy.step([policy.open("slide left")], seen[:1])
    theirs = np.stack(list(selected(folder, seen)))
    assert np.ptp(theirs) > 1e-3
    np.testing.assert_allclose(prediction.actions, theirs, atol=1e-5)


def test_a_folder_with_history_and_noise_acts_as_in_lerobot(tmp_path):
    made = make("diffusion", options=DIFFUSION | {"n_action_steps": 1})
    made.policy.save_pretrained(tmp_path)
    for processor in made.processors("cpu"):
        processor.save_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match=r"states no control rate.*policy\.rate=30"):
        load_policy(tmp_path)
    policy = load_policy(tmp_path, rate=15.0)
    assert [c.name for c in policy.contract.cameras] == ["static", "wrist"]
    assert (policy.contract.state_size, policy.contract.action_size, policy.contract.rate) == (7, 7, 15.0)
    assert policy.history == 2
    seen, session, other = list(observations(policy.contract, 4)), policy.open("slide left"), policy.open("slide left")
    ours = [policy.step([session], [o])[0].actions[0] for o in seen]
    theirs = list(selected(tmp_path, seen, [other.next_seed() for _ in seen]))
    np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_incomplete_folders_say_what_is_missing(trained, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(trained / "checkpoints/last/pretrained_model", folder)
    (folder / "policy_postprocessor.json").rename(tmp_path / "kept.json")
    with pytest.raises(CheckpointError, match=r"lacks policy_postprocessor\.json"):
        load_policy(folder)
    steps = json.loads((tmp_path / "kept.json").read_text())
    steps["steps"][0] = {"class": "os.path.Evil", "config": {}}
    (folder / "policy_postprocessor.json").write_text(json.dumps(steps))
    with pytest.raises(CheckpointError, match=r"names the step 'os\.path\.Evil', which is none of LeRobot's"):
        load_policy(folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"type": "acting"}))
    with pytest.raises(CheckpointError, match=r"the type 'acting', which no policy of LeRobot here has"):
        load_policy(folder)
    (folder / "config.json").write_text(json.dumps({"model_type": "bert"}))
    with pytest.raises(CheckpointError, match=r"is not a checkpoint: it lacks config\.yaml"):
        load_policy(folder)
    (folder / "config.json").write_text(json.dumps(config | {"dim_model": 8}))
    with pytest.raises(CheckpointError, match=r"its weights do not fit its config\.json"):
        load_policy(folder)
