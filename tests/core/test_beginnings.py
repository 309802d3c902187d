"""Training begins with another checkpoint's weights: all, some anew, a longer history cut."""

from copy import deepcopy

import numpy as np
import pytest
import torch

from forehand.beginnings import begin_from
from forehand.checkpoint import build_policy, fingerprint, save_policy
from forehand.conformance.example import CONTRACT
from forehand.errors import CheckpointError, ConfigurationError

CONFIG = {
    "name": "composed",
    "dim": 16,
    "history": 4,
    "image_size": 32,
    "encoders": {
        "state": {"name": "seer/state"},
        "cameras": {"name": "keypoints", "cameras": ["static"], "tokens": 2, "keypoints": 4, "width": 8},
    },
    "backbone": {"name": "seer/backbone", "layers": 1, "heads": 2},
    "world_model": {"name": "appearance_flow", "cameras": ["static"], "width": 4},
    "action_head": {"name": "seer/inverse_dynamics", "chunk": 2},
    "reads": {
        "observation": {"observation": "past"},
        "foresight": {"observation": "past"},
        "action": {"observation": "past"},
    },
    "normalization": {"state": "mean_std", "action": "none"},
}


def statistics(mean):
    return {"observation.state": {"mean": np.full(7, mean), "std": np.ones(7)}}


def make(seed, mean=0.0, **changes):
    torch.manual_seed(seed)
    return build_policy({**CONFIG, **changes}, CONTRACT, statistics(mean))


@pytest.fixture
def pretrained(tmp_path):
    policy = make(1)
    save_policy(tmp_path / "pretrained", policy, CONFIG, statistics(0.0), {})
    return policy, tmp_path / "pretrained"


def test_all_weights_are_taken_but_the_normalisation_is_that_of_the_new_data(pretrained):
    before, folder = pretrained
    policy = make(2, mean=5.0)
    facts = begin_from(policy, folder)
    for name, tensor in policy.state_dict().items():
        if name.startswith("normalize_state.center"):
            assert (tensor == 5).all()
        else:
            assert torch.equal(tensor, before.state_dict()[name]), name
    assert facts["fingerprint"] == fingerprint(folder)


def test_what_is_fresh_stays_as_it_was(pretrained):
    before, folder = pretrained
    policy = make(2)
    fresh = deepcopy(policy.state_dict())
    begin_from(policy, folder, ["action_head.queries", "world_model"])
    for name, tensor in policy.state_dict().items():
        new = name == "action_head.queries" or name.startswith("world_model.")
        assert torch.equal(tensor, (fresh if new else before.state_dict())[name]), name


def test_a_shorter_history_keeps_the_first_timesteps(pretrained):
    before, folder = pretrained
    policy = make(2, history=3)
    begin_from(policy, folder)
    assert torch.equal(policy.backbone.timestep_embedding, before.backbone.timestep_embedding[:, :3])


def test_what_the_policy_does_not_have_is_left_aside(pretrained):
    _, folder = pretrained
    assert begin_from(make(2, world_model=None), folder)["left_aside"] == ["world_model"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"history": 5}, "backbone.timestep_embedding (found (1, 4, 1, 16), needed (1, 5, 1, 16))"),
        ({"backbone": {"name": "seer/backbone", "layers": 2, "heads": 2}}, "missing: backbone.h.1.ln_1.weight"),
        ({"dim": 32}, "of another shape: encoders.state"),
    ],
)
def test_what_does_not_fit_is_named_and_nothing_is_taken(changes, words, pretrained):
    _, folder = pretrained
    policy = make(2, **changes)
    before = deepcopy(policy.state_dict())
    with pytest.raises(CheckpointError) as raised:
        begin_from(policy, folder)
    assert words in str(raised.value)
    assert "fresh=" in str(raised.value)
    assert all(torch.equal(tensor, before[name]) for name, tensor in policy.state_dict().items())


def test_fresh_weights_that_do_not_exist_are_told(pretrained):
    _, folder = pretrained
    with pytest.raises(ConfigurationError, match=r"no weights 'action_head.querys'.*'action_head.queries'"):
        begin_from(make(2), folder, ["action_head.querys"])
