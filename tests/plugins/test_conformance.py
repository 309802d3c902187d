"""Every part we register keeps the promises of its kind; a part that is missing here fails the suite."""

from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch

from forehand import Sensor, conformance, registry
from forehand.conformance.example import CONTRACT
from forehand.errors import ConfigurationError
from forehand.learning.budget import TooLarge, build_within

CAMERAS = ["static", "wrist"]
SMALL_TOWER = {"name": "seer/mae_vit", "width": 32, "layers": 2, "heads": 4, "patch": 8}
QWEN = {
    "model_type": "qwen2",
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 8,
}
TIMM_TOWER = {"name": "timm", "model": "test_resnet", "features": 8}
SMALL_NETWORK = {"width": 16, "layers": 2, "heads": 2}
TEXT = {name: str(Path(__file__).parents[1] / "data/text" / name) for name in ("bert", "t5", "clip")}
FEATURES = {"instructions": torch.randn(3, 512, generator=torch.Generator().manual_seed(0))}

OPTIONS = {
    "encoder": {
        "ngram_text": [{}],
        "keypoints": [{"cameras": CAMERAS}, {"cameras": ["wrist"], "tokens": 1}],
        "language_keypoints": [{"cameras": CAMERAS, "keypoints": 8, "asked": 3}],
        "state_mlp": [{}, {"width": 8}],
        "vision": [
            {"cameras": CAMERAS, "tower": TIMM_TOWER},
            {"cameras": CAMERAS, "tower": TIMM_TOWER, "tokens": "grid", "shared": False},
            {"cameras": ["wrist"], "tower": TIMM_TOWER | {"frozen": True}, "tokens": "spatial_softmax", "film": True},
            {"cameras": CAMERAS, "tower": SMALL_TOWER, "tokens": "attention_pooled", "count": 3, "film": True},
            {"cameras": CAMERAS, "tower": SMALL_TOWER, "tokens": "grid", "convolutions": 2, "width": 8, "film": True},
        ],
        "depth_cnn": [{"sensors": ["depth", "metres"]}, {"sensors": ["depth"], "tokens": 1, "width": 8}],
        "vector_mlp": [{"sensor": "force"}, {"sensor": "force", "scale": 5.0, "width": 8}],
        "pointnet": [{"sensor": "cloud"}, {"sensor": "fixed", "tokens": 3, "widths": [16]}],
        "sentence_transformer": [{"model": TEXT["bert"]}, {"model": TEXT["bert"], "frozen": False}],
        "t5": [{"model": TEXT["t5"], "tokens": "sequence", "count": 6}, {"model": TEXT["t5"], "frozen": False}],
        "clip_text": [
            {"model": TEXT["clip"], "tokens": "sequence", "count": 10, "frozen": False},
            {"model": TEXT["clip"], "scope": "episode"},
        ],
        "seer/state": [{"gripper": "width"}, {"gripper": "one_hot"}],
        "seer/clip_text": [{}, {"tower": {"width": 16, "layers": 1, "heads": 2}}],
        "seer/resampler": [{"cameras": CAMERAS, "tower": SMALL_TOWER}, {"cameras": ["wrist"], "tower": SMALL_TOWER}],
    },
    "vision_tower": {
        "pixel_patches": [{}, {"patch": 16}],
        "seer/mae_vit": [{k: v for k, v in SMALL_TOWER.items() if k != "name"}],
        "timm": [
            {"model": "test_vit"},
            {"model": "test_resnet", "features": 8},
            {"model": "test_convnext"},
            {"model": "test_efficientnet", "frozen": True, "features": 16},
        ],
    },
    "backbone": {
        "transformer": [{}, {"layers": 1, "heads": 1, "dropout": 0.0}],
        "causal_transformer": [{}, {"layers": 2, "heads": 4, "kv_heads": 2}, {"layers": 1, "heads": 1, "dropout": 0.0}],
        "encoder_decoder": [{}, {"layers": 1, "decoder_layers": 2, "heads": 1, "dropout": 0.0}],
        "huggingface": [
            {"config": QWEN},
            {"config": QWEN, "lora": {"r": 2, "targets": ["q_proj", "v_proj"]}},
            {"config": QWEN | {"hidden_size": 48}, "freeze": True},
            {"config": {"model_type": "gpt2", "n_embd": 32, "n_layer": 1, "n_head": 2, "vocab_size": 8}},
        ],
        "seer/backbone": [{"layers": 2}, {"layers": 1, "heads": 1, "dropout": 0.0}],
    },
    "world_model": {
        "seer/foresight": [
            {"cameras": CAMERAS},
            {"cameras": CAMERAS, "target": "pixels", "width": 32, "heads": 4, "patch": 8},
            {"cameras": ["wrist"], "queries": 1, "layers": 1},
        ],
        "appearance_flow": [
            {"cameras": CAMERAS, "loss_fraction": 0.5},
            {"cameras": ["wrist"], "queries": 1, "width": 8, "grid": 4},
        ],
        "latent_actions": [
            {"cameras": CAMERAS, "tower": "tower", "hidden": 8},
            {"cameras": ["wrist"], "tower": "tower", "horizon": 2, "bottleneck": "gaussian", "size": 3, "hidden": 8},
            {"cameras": CAMERAS, "tower": "tower", "train_latents": False, "layer_norm": False, "levels": [4, 3]},
        ],
        "latent": [
            {"cameras": CAMERAS, "tower": "tower"},
            {"cameras": ["wrist"], "tower": "tower", "horizon": [2], "features": "whole", "loss": "cosine", "queries": 1},
            {"cameras": CAMERAS, "tower": "tower", "horizon": [1, 3, 8], "features": "both", "residual": False},
            {"cameras": CAMERAS, "tower": "tower", "horizon": [1, 3], "loss": "cosine", "width": 16, "layers": 1},
            {"cameras": CAMERAS, "tower": "tower", "horizon": [1, 3], "decoder": "convolution"},
            {"cameras": ["wrist"], "tower": "tower", "decoder": "convolution", "residual": False, "width": 8},
        ],
        "state": [
            {},
            {"horizon": [1, 4], "residual": False, "width": 8, "queries": 1},
            {"vector": "sensors.force", "size": 6, "scale": 5.0},
        ],
        "pixels": [
            {"cameras": CAMERAS},
            {"cameras": ["wrist"], "horizon": [1, 5], "queries": 1, "width": 8, "doublings": 2},
        ],
        "discrete_tokens": [
            {"cameras": CAMERAS},
            {"cameras": ["wrist"], "horizon": [1, 5], "levels": [5, 4], "queries": 1, "patch": 4, "width": 16},
            {"cameras": CAMERAS, "train_tokenizer": False, "tokenizer_width": 8},
        ],
    },
    "action_head": {
        "chunk_regression": [{}, {"chunk": 1, "loss": "mse"}, {"gripper_weight": 0.1, "width": 8}],
        "flow_matching": [
            SMALL_NETWORK,
            SMALL_NETWORK | {"chunk": 1, "times": "uniform", "noise_samples": 1, "steps": 2},
        ],
        "flow_matching_expert": [{}, {"chunk": 1, "times": "uniform", "width": 8, "steps": 2}],
        "diffusion": [SMALL_NETWORK, SMALL_NETWORK | {"chunk": 1, "prediction": "sample", "clip": None, "steps": 3}],
        "gaussian_mixture": [
            {},
            {"mixture": "action", "decode": "low_noise"},
            {"chunk": 1, "decode": "mode", "modes": 2},
        ],
        "discrete_bins": [
            {},
            {"decode": "expectation", "spacing": "quantile"},
            {"chunk": 1, "decode": "sample", "bins": 8},
        ],
        "cvae": [SMALL_NETWORK, SMALL_NETWORK | {"chunk": 1, "decode": "sample", "style": 4, "kl_weight": 0.0}],
        "seer/inverse_dynamics": [{}, {"chunk": 1}, {"chunk": 8, "beta": 0.1}],
    },
}
SENSORS = (
    Sensor("depth", "depth", (32, 40), "uint16", unit="mm"),
    Sensor("metres", "depth", (24, 24), "float32", unit="m"),
    Sensor("cloud", "point_cloud", (None, 3), "float32", most=20),
    Sensor("fixed", "point_cloud", (12, 6), "float32"),
    Sensor("force", "vector", (6,), "float32", unit="N"),
)
SENSING = {"contract": replace(CONTRACT, sensors=SENSORS)}
CHECKED_WITH = {
    "seer/clip_text": FEATURES,
    "depth_cnn": SENSING,
    "pointnet": SENSING,
    "vector_mlp": SENSING,
    "state": SENSING,
}


@pytest.mark.parametrize("kind", OPTIONS)
def test_every_registered_part_is_listed(kind):
    assert {part.name for part in registry().parts(kind)} == set(OPTIONS[kind])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "name", "options"),
    [(kind, name, options) for kind, parts in OPTIONS.items() for name, several in parts.items() for options in several],
)
def test_part_conforms(kind, name, options):
    check = getattr(conformance, f"assert_{kind}_conforms")
    check(partial(registry().part(kind, name).load(), **options), **CHECKED_WITH.get(name, {}))


@pytest.mark.parametrize(
    ("name", "image_size"),
    [("appearance_flow", 10**6), ("seer/foresight", 10**9), ("pixels", 10**6), ("discrete_tokens", 10**6)],
)
def test_a_part_far_larger_than_the_stored_weights_is_not_built(name, image_size):
    given = {"contract": CONTRACT, "dim": 16, "cameras": ["static"], "horizon": 1}
    with pytest.raises(TooLarge, match="far larger than the stored weights"):
        build_within(partial(registry().create, "world_model", name, image_size=image_size, **given), {})


@pytest.mark.parametrize("name", OPTIONS["action_head"])
def test_an_action_head_without_actions_is_refused(name):
    silent = replace(CONTRACT, action=())
    with pytest.raises(ConfigurationError, match=r"no actions to learn.*policy\.action_head=null"):
        registry().create("action_head", name, contract=silent, dim=16, image_size=32)


@pytest.mark.parametrize("name", ["zero_action", "random"])
def test_reference_policy_conforms(name):
    conformance.assert_policy_conforms(lambda: registry().create("policy", name, contract=CONTRACT, horizon=4))


def test_tabletop_conforms():
    episode = registry().create("benchmark", "tabletop").episodes(1, seed=0)[0]
    conformance.assert_robot_conforms(partial(registry().create, "robot", "tabletop"), episode)
