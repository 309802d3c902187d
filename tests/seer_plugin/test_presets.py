"""The presets have the published sizes and tables, and every one of them trains and acts when it is made small."""

import numpy as np
import pytest
import torch

from forehand import Observation
from forehand.learning.checkpoint import build_policy
from forehand_seer.released_names import UNUSED, our_name, released_name, released_shape, unused_shapes

# preset: D, heads, layers, Q, F per camera, H, T, k, g, gripper elements
SIZES = {
    "seer_calvin": (384, 12, 24, 6, 9, 3, 10, 3, 0, 1),
    "seer_calvin_pretraining": (384, 12, 24, 6, 9, 3, 14, 3, 4, 1),
    "seer_large_calvin": (1024, 16, 24, 16, 16, 3, 10, 3, 0, 1),
    "seer_large_calvin_pretraining": (1024, 16, 24, 16, 16, 3, 14, 3, 4, 1),
    "seer_large_libero": (1024, 16, 24, 16, 16, 3, 7, 3, 0, 2),
    "seer_large_libero_pretraining": (1024, 16, 24, 16, 16, 3, 11, 3, 4, 2),
    "seer_large_real": (1024, 16, 24, 16, 16, 3, 7, 3, 0, 1),
    "seer_large_droid_pretraining": (1024, 16, 24, 16, 16, 3, 11, 3, 4, 1),
    "seer_real": (384, 12, 24, 6, 9, 3, 7, 3, 0, 1),
    "seer_droid_pretraining": (384, 12, 24, 6, 9, 3, 11, 3, 4, 1),
    "seer_libero": (384, 12, 24, 6, 9, 3, 7, 3, 0, 2),
    "seer_libero_pretraining": (384, 12, 24, 6, 9, 3, 11, 3, 4, 2),
}


def on_meta(seer, name):
    """A policy of full size without any memory."""
    with torch.device("meta"):
        return build_policy(seer.preset(name), seer.contract(SIZES[name][-1]), {})


@pytest.mark.slow
@pytest.mark.parametrize("name", SIZES)
def test_sizes_are_the_published_ones(name, seer):
    dim, heads, layers, resampled, foreseen, chunk, history, horizon, goal, _ = SIZES[name]
    policy = on_meta(seer, name)
    assert policy.window == {
        "history": history,
        "image_size": 224,
        "resize": "bicubic",
        "cameras": ["primary", "wrist"],
        "sensors": [],
        "chunk": chunk,
        "horizon": horizon,
    }
    assert policy.lookahead == goal
    assert policy.backbone.timestep_embedding.shape == (1, history, 1, dim)
    assert len(policy.backbone.h) == layers
    assert {block.attn.heads for block in policy.backbone.h} == {heads}
    assert [(group.name, group.count) for group in policy.groups] == [
        ("text", 1),
        ("state", 1),
        ("primary", resampled),
        ("wrist", resampled),
        ("class_primary", 1),
        ("class_wrist", 1),
    ]
    assert policy.world_model.group.count == 2 * foreseen
    assert policy.action_head.group.count == chunk


@pytest.mark.parametrize("name", ["seer_calvin", "seer_large_calvin", "seer_libero"])
def test_every_released_weight_has_its_place(name, seer):
    policy = on_meta(seer, name)
    released = {**seer.released[name], **{f"vision_encoder.{k}": s for k, s in seer.released["mae_vit_base"].items()}}
    text = "encoders.text.tower."
    left = {name: tuple(p.shape) for name, p in policy.named_parameters() if not name.startswith(text)}
    for key, shape in released.items():
        if ours := our_name(key, seer.cameras):
            mine = left.pop(ours)
            assert released_shape(key, mine) == tuple(shape)
            assert released_name(ours, seer.cameras) == key
        else:
            assert UNUSED.match(key)
    assert not left
    unused = {key: tuple(shape) for key, shape in released.items() if UNUSED.match(key)}
    assert unused == unused_shapes(SIZES[name][0])


def test_a_name_that_is_not_seers_is_refused(seer):
    with pytest.raises(KeyError, match="lm_head"):
        our_name("lm_head.weight", seer.cameras)


def reads(policy, reader, read):
    """The rule by which ``reader`` reads ``read``."""
    groups = {g.name: g for g in [*policy.groups, *(p.group for p in policy.query_parts.values())]}
    rules = [
        rule
        for key, row in policy.reads.items()
        if groups[reader].matches(key)
        for other, rule in row.items()
        if groups[read].matches(other) and rule is not None
    ]
    return rules[-1] if rules else None


OBSERVATIONS = ("text", "state", "primary", "wrist", "class_primary", "class_wrist")


@pytest.mark.slow
@pytest.mark.parametrize("name", SIZES)
def test_who_reads_whom(name, seer):
    policy = on_meta(seer, name)
    pretraining, large = "pretraining" in name, "large" in name
    for read in OBSERVATIONS:
        for reader in OBSERVATIONS:
            assert reads(policy, reader, read) == "past"
        assert reads(policy, "foresight", read) == (4 if pretraining and read == "state" else "past")
        if not pretraining:
            assert reads(policy, "action", read) == "past"
        elif read == "text" or (read == "state" and not large):
            assert reads(policy, "action", read) is None
        else:
            assert reads(policy, "action", read) == "same"
    assert reads(policy, "action", "foresight") == "same"
    for reader in OBSERVATIONS:
        assert reads(policy, reader, "foresight") is reads(policy, reader, "action") is None
    assert policy.token_dropout == ({"action": {"foresight": 0.5}} if name.endswith("libero_pretraining") else {})


SMALL = (
    "policy.dim=48",
    "policy.image_size=32",
    "policy.backbone={name:seer/backbone,layers:1,heads:4}",
    "policy.world_model.layers=1",
    "policy.random_shift={primary:2,wrist:1}",
    "+policy.encoders.cameras.tower={width:16,layers:1,heads:2}",
    "+policy.encoders.text.tower={width:16,layers:1,heads:2}",
)


@pytest.mark.slow
@pytest.mark.parametrize("name", SIZES)
def test_every_preset_trains(name, seer):
    torch.manual_seed(0)
    fingers = SIZES[name][-1]
    policy = build_policy(seer.preset(name, *SMALL), seer.contract(fingers), {}).train()
    batch = seer.window(name, policy.history, 3, 3, fingers == 2, image_size=32)
    optimizer = torch.optim.AdamW([p for p in policy.parameters() if p.requires_grad], 1e-2)
    losses = []
    for _ in range(6):
        loss, terms = policy(batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert set(terms) == {"arm", "gripper", "foresight"}
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("name", ["seer_calvin", "seer_libero_pretraining"])
def test_a_preset_acts(name, seer):
    fingers = SIZES[name][-1]
    policy = build_policy(seer.preset(name, *SMALL), seer.contract(fingers), {}).eval()
    image = np.zeros((224, 224, 3), np.uint8)
    seen = Observation(dict.fromkeys(seer.cameras, image), np.zeros(6 + fingers, np.float32), 0.0)
    session = policy.open("lift the red block")
    for _ in range(policy.history + 1):
        (prediction,) = policy.step([session], [seen], forecast=True)
    assert prediction.actions.shape == (3, 7)
    assert {c: p.shape for c, p in prediction.forecast.items()} == dict.fromkeys(seer.cameras, (32, 32, 3))


@pytest.mark.parametrize("name", ["seer_small", "behaviour_cloning"])
def test_small_presets_fit_a_robot_that_names_its_cameras_so(name, seer):
    from forehand.conformance import assert_policy_conforms
    from forehand.conformance.example import CONTRACT

    limits = {"observation.state": {"mean": np.zeros(7), "std": np.ones(7)}}
    config = seer.preset(name, "policy.normalization.action=none")
    assert_policy_conforms(lambda: build_policy(config, CONTRACT, limits).eval())
    assert (config.world_model is None) == (name == "behaviour_cloning")
