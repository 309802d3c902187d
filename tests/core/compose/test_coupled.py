"""Coupled policies: an inverse model acts on what a forward model forecasts, with and without gradient."""

import copy

import numpy as np
import pytest
import torch

from forehand.compose.coupled import CoupledPolicy
from forehand.compose.interventions import intervene
from forehand.conformance import assert_policy_conforms, example
from forehand.conformance.example import CONTRACT
from forehand.errors import ConfigurationError

from .conftest import CAMERAS

FEATURES = {"name": "example/features", "cameras": CAMERAS, "tower": "eyes"}
COUPLED = {
    "name": "coupled",
    "towers": {"eyes": {"name": "example/patches"}},
    "encoders.cameras": FEATURES,
    "world_model": {"name": "example/future_features", "cameras": CAMERAS, "tower": "eyes", "horizon": [1, 2]},
    "action_head": None,
    "reads": {"observation": {"observation": "past"}, "foresight": {"observation": "past"}},
    "inverse_model": {
        "dim": 16,
        "history": 3,
        "encoders": {"cameras": FEATURES},
        "backbone": {"name": "example/transformer", "layers": 1},
        "action_head": {"name": "example/regression", "chunk": 2},
        "reads": {"observation": {"observation": "past"}, "action": {"observation": "past"}},
    },
}


def moved(policy: CoupledPolicy, batch, *wanted: str) -> set[str]:
    """The parts that loss terms have a gradient for."""
    policy.zero_grad()
    _, terms = policy(batch)
    sum(terms[name] for name in wanted).backward()
    touched = {name for name, p in policy.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0}
    return {".".join(name.split(".")[: 2 if name.startswith("inverse_model") else 1]) for name in touched}


def test_a_coupled_policy_conforms(make_policy):
    assert_policy_conforms(lambda: make_policy(COUPLED))


FORWARD = {"encoders", "backbone", "world_model"}
INVERSE = {"inverse_model.encoders", "inverse_model.backbone", "inverse_model.action_head"}


@pytest.mark.parametrize(("gradient", "reached"), [("end_to_end", FORWARD | INVERSE), ("detached", INVERSE)])
def test_the_actions_loss_reaches_the_forecast_only_end_to_end(make_policy, later, gradient, reached):
    policy = make_policy(COUPLED | {"gradient": gradient}).train()
    assert moved(policy, later, *policy.action_head.weights) == reached
    assert moved(policy, later, "foresight") == FORWARD


def test_a_step_acts_as_in_training_and_shows_its_forecast(make_policy, window, frames):
    policy = make_policy(COUPLED)
    session = policy.open("lift the red block")
    for frame in frames[:3]:
        (prediction,) = policy.step([session], [frame], forecast=True)
    inputs = policy.inputs(frames[:3], ["lift the red block"] * 3)
    batch = {key: value if key == "instruction" else value[None] for key, value in inputs.items()}
    batch["instruction"] = ["lift the red block"]
    with torch.no_grad():
        wanted = policy.normalize_action.inverse(policy.action_head(policy.readouts(batch)["action"]))[0, -1]
    np.testing.assert_allclose(prediction.actions, wanted.numpy(), atol=1e-5)
    assert [forecast.horizon for forecast in prediction.forecasts] == [1, 2]
    facts = policy.describe()
    assert facts["parameters"] == sum(p.numel() for p in policy.parameters())
    assert facts["parameters"] == sum(facts["parameters_by_part"].values())


def test_the_inverse_model_reads_the_true_future_as_it_reads_the_forecast(make_policy, frames):
    policy = make_policy(COUPLED)
    true = {key: v[None] for key, v in policy.inputs(frames[:3], [""] * 3).items() if key != "instruction"}
    true = policy.towers.features(policy.world_model.forecast_keys, true)
    for value in true.values():  # as the forecast has it
        value[:, :, -1] = value[:, :, :-1].mean(dim=2)
    policy.world_model.forecast_inputs = lambda readout, present: true
    found = policy._inverse_readout(torch.zeros(1, 2, 32), {key: value[:, 0] for key, value in true.items()})
    whole = {**true, "state": torch.zeros(1, 3, CONTRACT.state_size), "instruction": [""]}
    assert torch.equal(found, policy.inverse_model.readouts(whole)["action"][:, -1])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"gradient": "some"}, "policy.gradient: there is no 'some'"),
        ({"world_model.horizon": [1, 3]}, r"horizon=\[1, 2\], not \[1, 3\]"),
        ({"world_model": {"name": "example/colour", "cameras": CAMERAS}}, "of features of patches or of the state"),
        ({"action_head": {"name": "example/regression"}}, "policy.action_head: it must be null here"),
        ({"inverse_model.encoders": {"state": {"name": "example/state"}}}, "they read state, which"),
        ({"inverse_model.history": 2}, "policy.inverse_model: inverse_dynamics: between 2 frames there are 1"),
        ({"inverse_model.random_shift": {"static": 2}}, "policy.inverse_model.random_shift: leave it out"),
        ({"inverse_model.depth": 2}, "policy.inverse_model was given .*'depth'"),
    ],
)
def test_what_cannot_be_coupled_is_explained(make_policy, changes, message):
    with pytest.raises(ConfigurationError, match=message):
        make_policy(copy.deepcopy(COUPLED) | changes)


def test_a_donor_has_no_forecast_to_give(make_policy):
    with pytest.raises(ConfigurationError, match="reads a forecast, not tokens"):
        intervene(make_policy(COUPLED), "zero")
    policy = make_policy(COUPLED)
    session = policy.open("lift")
    policy.step([session], [example.observation(CONTRACT, np.random.default_rng(0), 0.0)])
