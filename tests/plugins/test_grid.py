"""Any encoder goes with any world model, action head and backbone: composed, trained a step, stored, loaded, served."""

import copy
import itertools
import random
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from forehand import registry
from forehand.compose.interventions import intervene
from forehand.compose.parts import IterativeActionHead
from forehand.conformance import assert_policy_conforms
from forehand.conformance.example import CONTRACT, observation
from forehand.learning.checkpoint import build_policy, load_policy, save_policy

CAMERAS = ["static", "wrist"]
SIZE, DIM, HISTORY = 32, 48, 2
TOWER = {"name": "seer/mae_vit", "width": 32, "layers": 1, "heads": 2, "patch": 8}
LANGUAGE_MODEL = {
    "model_type": "qwen2",
    "hidden_size": 32,
    "intermediate_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "vocab_size": 8,
}

PARTS = {
    "encoder": {
        "keypoints": {"cameras": CAMERAS, "keypoints": 4, "width": 8},
        "language_keypoints": {"cameras": CAMERAS, "keypoints": 4, "asked": 2, "width": 8, "buckets": 16},
        "seer/resampler": {"cameras": CAMERAS, "tower": TOWER},
        "vision": {"cameras": CAMERAS, "tower": TOWER, "tokens": "attention_pooled", "count": 1, "film": True},
    },
    "world_model": {
        None: {},
        "appearance_flow": {"cameras": CAMERAS, "grid": 2, "width": 8},
        "latent": {"cameras": CAMERAS, "tower": "eyes", "queries": 1, "layers": 1, "heads": 2, "horizon": [1, 3]},
        "latent_actions": {"cameras": CAMERAS, "tower": "eyes", "queries": 1, "hidden": 8, "layers": 1},
        "pixels": {"cameras": CAMERAS, "queries": 1, "width": 8},
        "state": {"horizon": [1, 3]},
        "discrete_tokens": {"cameras": CAMERAS, "queries": 1, "patch": 8, "layers": 1, "heads": 2, "tokenizer_width": 8},
        "seer/foresight": {"cameras": CAMERAS, "queries": 1, "patch": 8, "layers": 1, "heads": 2, "width": 16},
    },
    "action_head": {
        "chunk_regression": {"chunk": 2},
        "flow_matching": {"chunk": 2, "width": 16, "layers": 1, "heads": 2},
        "flow_matching_expert": {"chunk": 2, "steps": 3},
        "diffusion": {"chunk": 2, "width": 16, "layers": 1, "heads": 2},
        "gaussian_mixture": {"chunk": 2},
        "discrete_bins": {"chunk": 2, "bins": 8},
        "cvae": {"chunk": 2, "width": 16, "layers": 1, "heads": 2},
        "seer/inverse_dynamics": {"chunk": 2},
    },
    "backbone": {
        "transformer": {"layers": 1, "heads": 2, "dropout": 0.0},
        "causal_transformer": {"layers": 1, "heads": 2, "dropout": 0.0},
        "encoder_decoder": {"layers": 1, "heads": 2, "dropout": 0.0},
        "huggingface": {"config": LANGUAGE_MODEL},
        "seer/backbone": {"layers": 1, "heads": 2, "dropout": 0.0},
    },
}
"""Small options of every part that sees, foresees, acts or connects; None: a policy without one."""

ELSEWHERE = {
    *("ngram_text", "sentence_transformer", "t5", "clip_text", "seer/clip_text"),
    *("state_mlp", "seer/state", "depth_cnn", "pointnet", "vector_mlp"),
}
"""Encoders that every policy here has, or that stand for those: of the instruction, the state and other sensors."""

GRID = [dict(zip(PARTS, names, strict=True)) for names in itertools.product(*PARTS.values())]


def covering(grid):
    """Some of the grid in which every two parts of different kinds meet."""
    drawn = random.Random(0).sample(grid, len(grid))
    pairs = [{frozenset(pair) for pair in itertools.combinations(row.items(), 2)} for row in drawn]
    left, chosen = set().union(*pairs), []
    while left:
        best = max(range(len(drawn)), key=lambda i: len(pairs[i] & left))
        chosen.append(drawn[best])
        left -= pairs[best]
    return chosen


COVERING = covering(GRID)
REST = [row for row in GRID if row not in COVERING]
"""What ``make test-grid`` alone tries."""


def name_of(row):
    return "-".join(str(name) for name in row.values())


def config_of(row):
    chosen = {kind: {"name": name, **PARTS[kind][name]} if name else None for kind, name in row.items()}
    text, state = {"name": "ngram_text", "buckets": 16}, {"name": "state_mlp"}
    return {
        "name": "composed",
        "dim": DIM,
        "history": HISTORY,
        "image_size": SIZE,
        "towers": {"eyes": TOWER} if row["world_model"] in ("latent", "latent_actions") else None,
        "encoders": {"text": text, "state": state, "cameras": chosen["encoder"]},
        "backbone": chosen["backbone"],
        "world_model": chosen["world_model"],
        "action_head": chosen["action_head"],
        "reads": {
            "observation": {"observation": "past"},
            "foresight": {"observation": "past"},
            "action": {"observation": "past", "foresight": "same"},
        },
        "normalization": {"state": "none", "action": "none"},
    }


def window_of(policy):
    """Two random windows that hold what ``policy`` asks for."""
    chunk, horizons = policy.window["chunk"], policy.world_model.horizons if policy.world_model else ()
    several = (len(horizons),) if len(horizons) > 1 else ()
    offsets = {key: len(each) for key, each in policy.window.get("targets", {}).items()}
    torch.manual_seed(1)

    def images(*axes):
        return torch.randint(0, 256, (2, HISTORY, *axes, SIZE, SIZE, 3)).byte()

    return {
        "observation": {
            **{f"images.{c}": images() for c in CAMERAS},
            "state": torch.randn(2, HISTORY, CONTRACT.state_size),
            "instruction": ["lift the red block", "push the green block"],
        },
        "target": {
            **{f"future.{c}": images(*several) for c in CAMERAS},
            **{key: torch.randn(2, HISTORY, count, CONTRACT.state_size) for key, count in offsets.items()},
            **{f"{key}_valid": torch.ones(2, HISTORY, count, dtype=torch.bool) for key, count in offsets.items()},
            "actions": torch.rand(2, HISTORY, chunk, CONTRACT.action_size) * 2 - 1,
            "valid": torch.ones(2, HISTORY, dtype=torch.bool),
            "future_valid": torch.ones(2, HISTORY, *several, dtype=torch.bool),
            "actions_valid": torch.ones(2, HISTORY, chunk, dtype=torch.bool),
        },
    }


def check(row, tmp_path):
    torch.manual_seed(0)
    config = config_of(row)
    policy = build_policy(config, CONTRACT, {})
    optimizer = torch.optim.AdamW([p for p in policy.parameters() if p.requires_grad], lr=1e-3)
    loss, terms = policy.train()(window_of(policy))
    assert loss.isfinite()
    assert terms
    loss.backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in policy.parameters())
    for part in (policy.backbone, *policy.query_parts.values(), policy.encoders["cameras"]):
        assert any(p.grad is not None and p.grad.any() for p in part.parameters()), (
            f"{type(part).__name__} learns nothing"
        )
    optimizer.step()
    save_policy(tmp_path / "checkpoint", policy.eval(), config, {}, {})
    loaded = load_policy(tmp_path / "checkpoint")
    ours, theirs = policy.state_dict(), loaded.state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert_policy_conforms(lambda: loaded)
    check_causality(loaded)
    if loaded.world_model is not None and row["encoder"] == "keypoints":  # which meets all backbones, heads and models
        check_interventions(loaded, rounded=row["action_head"] == "discrete_bins")


@torch.no_grad()
def check_causality(policy):
    """Frames after a timestep of a window change nothing there, to the bit."""
    observation = window_of(policy)["observation"]
    later = {key: value.clone() if key != "instruction" else value for key, value in observation.items()}
    for key in later.keys() - {"instruction"}:
        later[key][:, 1:] = later[key][:, 1:].flip(0)
    before, after = ({k: read.float() for k, read in policy.readouts(seen).items()} for seen in (observation, later))
    for name in before:
        assert torch.equal(before[name][:, 0], after[name][:, 0]), f"{name} reads the future"
        assert not torch.equal(before[name][:, 1], after[name][:, 1])
    head = policy.action_head
    if not isinstance(head, IterativeActionHead):
        assert torch.equal(head(before["action"][:, 0]), head(after["action"][:, 0]))


def check_interventions(original, rounded):
    """A donor that saw the same changes no action; zeros do, unless actions are rounded to the same bins."""
    generator = np.random.default_rng(3)
    frames = [observation(CONTRACT, generator, i / CONTRACT.rate) for i in range(3)]

    def actions(intervention, recordings=None):
        policy = copy.deepcopy(original)
        if intervention is not None:
            intervene(policy, intervention, recordings)
        session = policy.open("lift the red block", 5)
        return np.stack([policy.step([session], [frame])[0].actions for frame in frames])

    same = SimpleNamespace(draw=lambda instruction, seed, same_sentence: (instruction, frames))
    own = actions(None)
    np.testing.assert_allclose(actions("other_scene", same), own, rtol=1e-4, atol=1e-4)
    assert rounded or not np.array_equal(actions("zero"), own)


@pytest.mark.slow
@pytest.mark.parametrize("row", COVERING, ids=name_of)
def test_every_two_parts_go_together(row, tmp_path):
    check(row, tmp_path)


@pytest.mark.grid
@pytest.mark.parametrize("row", REST, ids=name_of)
def test_all_parts_go_together(row, tmp_path):
    check(row, tmp_path)


def test_no_part_is_left_out():
    known = {name for options in PARTS.values() for name in options if name} | ELSEWHERE
    assert {part.name for kind in PARTS for part in registry().parts(kind)} == known
