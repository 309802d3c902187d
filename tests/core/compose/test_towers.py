"""Shared vision towers: run once a frame, read by encoders, forecast by world models at several horizons."""

import numpy as np
import pytest
import torch

from forehand.conformance import assert_policy_conforms, example
from forehand.conformance.example import CONTRACT
from forehand.errors import ConfigurationError

CAMERAS = ["static", "wrist"]
TOWER = {"towers": {"eyes": {"name": "example/patches"}}}
READ = {**TOWER, "encoders.cameras": {"name": "example/features", "cameras": CAMERAS, "tower": "eyes"}}
FORESEEN = {**READ, "world_model": {"name": "example/future_features", "cameras": CAMERAS, "tower": "eyes"}}


@pytest.mark.parametrize("changes", [READ, FORESEEN])
def test_a_policy_with_a_tower_conforms(make_policy, changes):
    assert_policy_conforms(lambda: make_policy(changes))


def test_a_tower_runs_once_a_camera_and_its_weights_are_kept_once(make_policy):
    policy = make_policy(FORESEEN)
    policy.step([policy.open("lift")], [example.observation(CONTRACT, np.random.default_rng(0), 0.0)], forecast=True)
    assert policy.towers.towers["eyes"].runs == len(CAMERAS)
    assert policy.window["horizon"] == (1, 3)


def test_forecasts_at_several_horizons_are_features_by_tower_and_camera(make_policy):
    policy = make_policy(FORESEEN)
    seen = example.observation(CONTRACT, np.random.default_rng(0), 0.0)
    (answer,) = policy.step([policy.open("lift")], [seen], forecast=True)
    assert [f.horizon for f in answer.forecasts] == [1, 3]
    for forecast in answer.forecasts:
        assert {name: f.shape for name, f in forecast.features.items()} == {f"eyes.{c}": (2, 2, 3) for c in CAMERAS}
        assert not forecast.images
    assert answer.forecast is None


def test_features_of_the_future_are_learned_where_they_exist(make_policy, later):
    policy = make_policy(FORESEEN)
    with torch.no_grad():
        _, terms = policy(later)
        later["target"]["future_valid"][:, :, 1] = False
        later["target"]["future.static"][:, :, 1] = 0
        nearest, its_terms = policy(later)
        later["target"]["future.static"][:, :, 1] = 255
        again, _ = policy(later)
    assert terms["foresight"] != its_terms["foresight"]
    assert nearest == again


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({**READ, "towers": None}, "eyes"),
        ({**TOWER, "towers.eyes": {"image_size": 3}}, "configured without a name"),
        ({"towers": {"a.b": {"name": "example/patches"}}}, "may hold no dot"),
    ],
)
def test_towers_that_cannot_be(make_policy, changes, message):
    with pytest.raises(ConfigurationError, match=message):
        make_policy(changes)


@pytest.mark.parametrize("name", ["foresight", "action"])
def test_a_detached_loss_reaches_no_encoder_and_changes_no_value(make_policy, window, name):
    plain, detached = (make_policy(changes).train() for changes in ({}, {"detach": [name]}))
    torch.testing.assert_close(plain(window)[1], detached(window)[1])
    terms = detached(window)[1]
    mine, others = (["foresight"], ["arm", "gripper"]) if name == "foresight" else (["arm", "gripper"], ["foresight"])
    for wanted, reaches in ((mine, False), (others, True)):
        detached.zero_grad()
        sum(terms[term] for term in wanted).backward(retain_graph=True)
        touched = any(p.grad is not None and p.grad.any() for p in detached.encoders.parameters())
        assert touched == reaches
        assert all(p.grad is not None for p in detached.backbone.parameters())


def test_only_a_loss_can_be_detached(make_policy):
    with pytest.raises(ConfigurationError, match="'foresigt' has no loss here"):
        make_policy({"detach": ["foresigt"]})
