"""A robot whose numbers are unlike those of training is noticed, though its contract fits."""

import numpy as np
import pytest

from forehand import Contract, Field, Observation
from forehand.learning.checkpoint import training_ranges
from forehand.running.distribution_shift import action_range_mismatch, state_out_of_distribution

CONTRACT = Contract((), (Field("position", 2, unit="m"), Field("gripper", 1)), (Field("motion", 1),), 10.0)
STATISTICS = {"observation.state": {"min": np.array([0.2, -0.1, 1.0]), "max": np.array([0.6, 0.3, 1.0])}}


def found(*state, facts=None):
    observation = Observation({}, np.array(state, np.float32), 0.0)
    return [
        str(m)
        for m in state_out_of_distribution(training_ranges(STATISTICS) if facts is None else facts, observation, CONTRACT)
    ]


def test_states_like_those_of_training_pass():
    assert found(0.4, 0.0, 1.0) == []
    assert found(0.9, -0.4, 1.0) == []  # some way out


def test_another_unit_is_named_with_both_values():
    assert found(400, 0.0, 1.0) == ["state element 'position.0': needed '0.2 to 0.6', offered 400.0"]
    assert found(0.4, -51, 1.0) == ["state element 'position.1': needed '-0.1 to 0.3', offered -51.0"]


def test_what_was_constant_in_training_or_is_not_known_is_not_judged():
    assert found(0.4, 0.0, 55.0) == []
    assert training_ranges({}) == {}
    assert found(400, 400, 400, facts={}) == []


@pytest.mark.parametrize(
    ("least", "most", "words"),
    [
        (-0.01, 0.02, []),
        (-0.05, 0.01, []),  # some way out
        (-20, 15, ["action element 'motion': needed '-20 to 15', offered '-0.02 to 0.02'"]),
        (0, 0.07, ["action element 'motion': needed '0 to 0.07', offered '-0.02 to 0.02'"]),
    ],
)
def test_actions_far_beyond_a_robots_range_are_named_with_both_values(least, most, words):
    facts = training_ranges({"action": {"min": np.array([least]), "max": np.array([most])}})
    limited = Contract((), (), (Field("motion", 1, low=(-0.02,), high=(0.02,)),), 10.0)
    assert [str(m) for m in action_range_mismatch(facts, limited)] == words
    assert action_range_mismatch(facts, CONTRACT) == []  # no range is stated
    assert action_range_mismatch({}, limited) == []
