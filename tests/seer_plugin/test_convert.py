"""Released checkpoints become checkpoint folders, and come back as they were."""

import json
from dataclasses import replace

import pytest
import torch

from forehand import Camera, Observation, registry
from forehand.errors import CheckpointError, ConfigurationError
from forehand.learning.checkpoint import build_policy, load_policy, read_provenance, save_policy
from forehand_seer.clip_tower import CLIPTextTower
from forehand_seer.contracts import PLATFORMS
from forehand_seer.released import configuration, predict
from forehand_seer.released_names import PREFIX, VISION, unused_shapes

FLAGS = {
    "sequence_length": 3,
    "hidden_dim": 64,
    "transformer_layers": 2,
    "transformer_heads": 4,
    "num_resampler_query": 2,
    "num_obs_token_per_image": 4,
}
TOWER = {"width": 64, "layers": 1, "heads": 1, "patch": 16}


def convert(**options):
    return registry().create("converter", "seer", **options)


class Scheduler:
    """Whatever a trainer keeps."""

    def __init__(self):
        self.base = [1e-3]


def small_seer(**flags):
    config = configuration(**{**FLAGS, **flags})
    config["image_size"] = 64
    config["encoders"]["cameras"]["tower"] |= TOWER
    config["encoders"]["text"]["tower"] = None
    return build_policy(config, PLATFORMS["libero" if flags.get("gripper_width") else "calvin"](), {}).eval()


def write_files(folder, seer, **flags):
    """A small released model as its three files; returns it and the options that name them."""
    policy = small_seer(**flags)
    weights = seer.generated(policy)
    vision = {name.removeprefix(VISION): weights.pop(name) for name in list(weights) if name.startswith(VISION)}
    seer.fill(policy)
    weights |= {name: torch.randn(shape) for name, shape in unused_shapes(FLAGS["hidden_dim"]).items()}
    training = {
        "optimizer_state_dict": {"state": {0: {"exp_avg": torch.ones(3)}}, "param_groups": [{"lr": 1e-3}]},
        "lr_scheduler_state_dict": {"lambdas": [Scheduler()]},
        "epoch": 19,
    }
    released = {PREFIX + name: tensor for name, tensor in weights.items()}
    torch.save({"model_state_dict": released, **training}, folder / "seer.pth")
    torch.save({"model": {**vision, "decoder_embed.bias": torch.ones(2)}}, folder / "mae.pth")
    torch.manual_seed(3)
    tower = CLIPTextTower(width=64, layers=1, heads=1)
    torch.save(dict(tower.text.state_dict()), folder / "clip.pt")
    return policy, tower, {"released": f"{folder}/seer.pth", "mae": f"{folder}/mae.pth", "clip": f"{folder}/clip.pt"}


HEADS = {"transformer_heads": 4}


@pytest.mark.slow
@pytest.mark.parametrize("platform", ["calvin", "libero", "real"])
@pytest.mark.parametrize("phase", ["finetuning", "pretraining"])
def test_a_released_model_computes_the_same_here(platform, phase, tmp_path, seer):
    goal = {"atten_goal": 4, "atten_goal_state": True, "atten_only_obs": True} if phase == "pretraining" else {}
    width = platform == "libero"
    theirs, _, files = write_files(tmp_path, seer, sequence_length=6, gripper_width=width, **goal)
    folder = convert(**files, platform=platform, phase=phase, flags=HEADS, output=str(tmp_path / "out"))

    ours = load_policy(folder)
    assert ours.contract == PLATFORMS[platform]()
    given = seer.inputs("convert", 6, width, image_size=64)
    for a, b in zip(predict(ours, **given), predict(theirs, **given), strict=True):
        torch.testing.assert_close(a, b)
    assert ours.token_dropout == ({"action": {"foresight": 0.5}} if width and goal else {})
    assert read_provenance(folder)["converted"]["platform"] == platform


def test_what_came_out_reads_sentences_and_acts(tmp_path, seer):
    theirs, tower, files = write_files(tmp_path, seer)
    policy = load_policy(convert(**files, flags=HEADS, output=str(tmp_path / "out")))
    rows = torch.randint(0, 256, (64, 64, 3), dtype=torch.uint8).numpy()
    seen = Observation({"primary": rows, "wrist": rows}, torch.randn(7).numpy(), 0.0)
    (ours,) = policy.step([policy.open("lift the red block")], [seen], forecast=True)
    (same,) = theirs.step([theirs.open(tower(["lift the red block"])[0])], [seen], forecast=True)
    torch.testing.assert_close(torch.from_numpy(ours.actions), torch.from_numpy(same.actions))
    assert set(ours.forecast) == {"primary", "wrist"}


def test_and_back(tmp_path, seer):
    _, _, files = write_files(tmp_path, seer)
    folder = convert(**files, flags=HEADS, output=str(tmp_path / "out"))
    back = torch.load(convert(checkpoint=str(folder), output=str(tmp_path / "back.pth")), weights_only=True)
    before = torch.load(files["released"], weights_only=False)["model_state_dict"]
    assert set(back) == {"model_state_dict"}
    assert {n: t.shape for n, t in back["model_state_dict"].items()} == {n: t.shape for n, t in before.items()}
    unused = {PREFIX + name for name in unused_shapes(FLAGS["hidden_dim"])}
    for name, tensor in back["model_state_dict"].items():
        assert torch.equal(tensor, torch.zeros_like(tensor) if name in unused else before[name]), name


def test_a_model_without_foresight(tmp_path, seer):
    theirs, _, files = write_files(tmp_path, seer, obs_pred=False)
    ours = load_policy(convert(**files, flags=HEADS, output=str(tmp_path / "out")))
    assert ours.world_model is None
    given = seer.inputs("convert", 3, width=False, image_size=64)
    torch.testing.assert_close(predict(ours, **given).arm_action, predict(theirs, **given).arm_action)


def test_everything_that_does_not_fit_is_named_at_once_and_nothing_is_written(tmp_path, seer):
    _, _, files = write_files(tmp_path, seer)
    spoilt = torch.load(files["released"], weights_only=False)
    weights = spoilt["model_state_dict"]
    del weights["module.text_projector.bias"]
    weights["module.lm_head.weight"] = torch.ones(2)
    weights["module.state_projector.weight"] = torch.ones(64, 99)
    torch.save(spoilt, files["released"])
    text = torch.load(files["clip"])
    del text["ln_final.bias"]
    torch.save(text, files["clip"])
    before = sorted(tmp_path.iterdir())
    with pytest.raises(CheckpointError) as raised:
        convert(**files, flags=HEADS, output=str(tmp_path / "out"))
    for words in (
        "missing: text_projector.bias",
        "unexpected: lm_head.weight",
        "of another shape: state_projector.weight (found (64, 99), needed (64, 128))",
        "missing: ln_final.bias",
    ):
        assert words in str(raised.value)
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"flags": {}}, "width 64, which is neither Seer's (384) nor Seer-Large's (1024)"),
        ({"flags": {**HEADS, "tranformer_layers": 4}}, "Did you mean 'transformer_layers'"),
        ({"platform": "calvn"}, "Did you mean 'calvin'"),
        ({"phase": "pretrained"}, "Did you mean 'pretraining'"),
        ({"clip": None}, "give mae=<MAE's ViT-B/16> and clip="),
        ({"released": None}, "either released=<file> or checkpoint=<folder>"),
        ({"mae": "nowhere.pth"}, "no file"),
    ],
)
def test_mistakes_are_told(changes, words, tmp_path, seer):
    _, _, files = write_files(tmp_path, seer)
    with pytest.raises((CheckpointError, ConfigurationError)) as raised:
        convert(**{**files, "flags": HEADS, "output": str(tmp_path / "out"), **changes})
    assert words in str(raised.value)


def test_other_files_are_told_from_released_ones(tmp_path, seer):
    _, _, files = write_files(tmp_path, seer)
    with pytest.raises(CheckpointError, match="no model_state_dict"):
        convert(**{**files, "released": files["mae"]}, output=str(tmp_path / "out"))
    torch.save({"model_state_dict": {"module.weight": torch.ones(2)}}, files["released"])
    with pytest.raises(CheckpointError, match="transformer_backbone_position_embedding is missing"):
        convert(**files, output=str(tmp_path / "out"))
    with pytest.raises(CheckpointError, match="nothing is overwritten"):
        convert(**files, output=files["mae"])


def test_a_policy_that_is_no_seer_cannot_be_taken_back(tmp_path, seer):
    from forehand.conformance.example import CONTRACT

    config = seer.preset("behaviour_cloning", "policy.normalization={state:none,action:none}")
    save_policy(tmp_path / "other", build_policy(config, CONTRACT, {}), config, {}, {})
    with pytest.raises(CheckpointError, match="is no Seer"):
        convert(checkpoint=str(tmp_path / "other"), output=str(tmp_path / "back.pth"))
    assert not (tmp_path / "back.pth").exists()


GOAL = {"atten_goal": 4, "atten_goal_state": True, "atten_only_obs": True}
LARGE = {"hidden_dim": 1024, "transformer_heads": 16, "num_resampler_query": 16, "num_obs_token_per_image": 16}
PRESETS = {
    "seer_calvin": {},
    "seer_calvin_pretraining": {"sequence_length": 14, **GOAL},
    "seer_large_calvin": LARGE,
    "seer_large_calvin_pretraining": {"sequence_length": 14, **GOAL, **LARGE, "attn_robot_proprio_state": True},
    "seer_libero": {"sequence_length": 7, "gripper_width": True},
    "seer_libero_pretraining": {"sequence_length": 11, "gripper_width": True, **GOAL, "mask_ratio": 0.5},
}


@pytest.mark.parametrize("name", PRESETS)
def test_released_flags_mean_what_the_presets_say(name, seer):
    assert plain(seer.preset(name)) == plain(configuration(**PRESETS[name]))


def plain(config):
    """The configuration with rules in one spelling, and without those that allow nothing."""
    from omegaconf import OmegaConf

    found = OmegaConf.to_container(OmegaConf.create(config), resolve=True)
    found["reads"] = {
        reader: {read: str(rule).removeprefix("+") for read, rule in row.items() if rule is not None}
        for reader, row in found["reads"].items()
    }
    return json.loads(json.dumps(found))


def test_a_seer_whose_cameras_have_other_names_is_taken_back(tmp_path, seer):
    config = configuration(**FLAGS)
    config["image_size"] = 64
    config["encoders"]["cameras"] |= {
        "cameras": ["front", "hand"],
        "tower": config["encoders"]["cameras"]["tower"] | TOWER,
    }
    config["encoders"]["text"]["tower"] = None
    config["world_model"]["cameras"], config["random_shift"] = ["front", "hand"], {}
    contract = replace(PLATFORMS["calvin"](), cameras=(Camera("front", 64, 64), Camera("hand", 64, 64)))
    save_policy(tmp_path / "mine", build_policy(config, contract, {}), config, {}, {})
    file = convert(checkpoint=str(tmp_path / "mine"), output=str(tmp_path / "back.pth"))
    weights = torch.load(file, weights_only=True)["model_state_dict"]
    mine = load_policy(tmp_path / "mine").state_dict()
    assert torch.equal(weights["module.image_wrist_projector.bias"], mine["encoders.cameras.project.hand.bias"])
