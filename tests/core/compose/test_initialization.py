"""Initialization of a policy's weights: what is drawn anew, what stays, and what is refused."""

import pytest
import torch
from torch import nn

from forehand.compose.initialization import METHODS, initialize, require_initialization
from forehand.errors import ConfigurationError


@pytest.mark.parametrize("method", METHODS["linear"])
def test_linear_maps_are_drawn_anew_but_for_frozen_ones_and_others(method):
    torch.manual_seed(0)
    moving, frozen, other = nn.Linear(8, 8), nn.Linear(8, 8), nn.Conv1d(8, 8, 1)
    frozen.requires_grad_(False)
    before = [part.weight.clone() for part in (moving, frozen, other)]
    biases = frozen.bias.clone(), other.bias.clone()
    initialize({"linear": method}, [moving, frozen, other], [])
    changed = [not torch.equal(part.weight, w) for part, w in zip((moving, frozen, other), before, strict=True)]
    assert changed == [True, False, False]
    assert not moving.bias.any()
    assert torch.equal(frozen.bias, biases[0])
    assert torch.equal(other.bias, biases[1])
    if method == "orthogonal":
        torch.testing.assert_close(moving.weight @ moving.weight.T, torch.eye(8))
    if method == "xavier_uniform":
        assert moving.weight.abs().max() <= (6 / 16) ** 0.5


def test_queries_are_drawn_anew_and_what_is_not_named_stays():
    queries, linear = nn.Parameter(torch.ones(2, 64)), nn.Linear(2, 2)
    before = linear.weight.clone()
    initialize({"queries": "zeros", "linear": None}, [linear], [queries])
    assert not queries.any()
    assert torch.equal(linear.weight, before)
    torch.manual_seed(0)
    initialize({"queries": "normal"}, [linear], [queries])
    assert 0.01 < queries.std() < 0.03


def test_unknown_methods_are_refused_with_the_nearest():
    with pytest.raises(ConfigurationError, match=r"there is no 'linar'. Did you mean 'linear'"):
        require_initialization({"linar": "normal"})
    with pytest.raises(ConfigurationError, match=r"unknown method 'xavier' of 'linear'. Did you mean 'xavier_"):
        require_initialization({"linear": "xavier"})
