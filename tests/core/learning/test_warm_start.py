"""Training begins with another checkpoint's weights: all, some anew, a longer history cut."""

from copy import deepcopy

import numpy as np
import pytest
import torch

from forehand.conformance.example import CONTRACT
from forehand.errors import CheckpointError, ConfigurationError
from forehand.learning.checkpoint import build_policy, fingerprint, save_policy
from forehand.learning.warm_start import load_pretrained_weights

CONFIG = {
    "name": "composed",
    "dim": 16,
    "history": 4,
    "image_size": 32,
    "encoders": {
        "state": {"name": "example/state"},
        "cameras": {"name": "example/images", "cameras": ["static"], "tokens": 2},
    },
    "backbone": {"name": "example/transformer", "layers": 1},
    "world_model": {"name": "example/colour", "cameras": ["static"]},
    "action_head": {"name": "example/regression", "chunk": 2},
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


def test_all_weights_are_taken_but_the_normalization_is_that_of_the_new_data(pretrained):
    before, folder = pretrained
    policy = make(2, mean=5.0)
    facts = load_pretrained_weights(policy, folder)
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
    load_pretrained_weights(policy, folder, ["action_head.queries", "world_model"])
    for name, tensor in policy.state_dict().items():
        new = name == "action_head.queries" or name.startswith("world_model.")
        assert torch.equal(tensor, (fresh if new else before.state_dict())[name]), name


def test_a_shorter_history_keeps_the_first_timesteps(pretrained):
    before, folder = pretrained
    policy = make(2, history=3)
    load_pretrained_weights(policy, folder)
    assert torch.equal(policy.backbone.timestep_embedding, before.backbone.timestep_embedding[:3])


def test_what_the_policy_does_not_have_is_left_aside(pretrained):
    _, folder = pretrained
    assert load_pretrained_weights(make(2, world_model=None), folder)["left_aside"] == ["world_model"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"history": 5}, "backbone.timestep_embedding (found (4, 16), needed (5, 16))"),
        ({"backbone": {"name": "example/transformer", "layers": 2}}, "missing: backbone.layers.1.query.weight"),
        ({"dim": 32}, "of another shape: encoders.state"),
    ],
)
def test_what_does_not_fit_is_named_and_nothing_is_taken(changes, words, pretrained):
    _, folder = pretrained
    policy = make(2, **changes)
    before = deepcopy(policy.state_dict())
    with pytest.raises(CheckpointError) as raised:
        load_pretrained_weights(policy, folder)
    assert words in str(raised.value)
    assert "reinitialize=" in str(raised.value)
    assert all(torch.equal(tensor, before[name]) for name, tensor in policy.state_dict().items())


def test_fresh_weights_that_do_not_exist_are_told(pretrained):
    _, folder = pretrained
    with pytest.raises(ConfigurationError, match=r"no weights 'action_head.querys'.*'action_head.queries'"):
        load_pretrained_weights(make(2), folder, ["action_head.querys"])


def test_partial_weights_are_taken_where_they_fit_and_the_others_are_listed(pretrained):
    before, folder = pretrained
    policy = make(
        2, backbone={"name": "example/transformer", "layers": 2}, action_head=CONFIG["action_head"] | {"chunk": 3}
    )
    fresh = deepcopy(policy.state_dict())
    with pytest.raises(CheckpointError, match="init_partial=true"):
        load_pretrained_weights(policy, folder)
    unfit = load_pretrained_weights(policy, folder, partial=True)["not_filled"]
    assert any(reason == "missing" for reason in unfit.values())
    assert any(reason.startswith("found (") for reason in unfit.values())
    for name, tensor in policy.state_dict().items():
        if not name.startswith("normalize_state"):
            assert torch.equal(tensor, (fresh if name in unfit else before.state_dict())[name]), name
    with pytest.raises(CheckpointError, match="none of the weights"):
        load_pretrained_weights(torch.nn.Linear(5, 7), folder, partial=True)
