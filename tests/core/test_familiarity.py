"""A robot whose numbers are unlike those of training is noticed, though its contract fits."""

import numpy as np

from forehand import Contract, Field, Observation
from forehand.familiarity import trained_on, unfamiliar

CONTRACT = Contract((), (Field("position", 2, unit="m"), Field("gripper", 1)), (Field("motion", 1),), 10.0)
STATISTICS = {"observation.state": {"min": np.array([0.2, -0.1, 1.0]), "max": np.array([0.6, 0.3, 1.0])}}


def found(*state, facts=None):
    observation = Observation({}, np.array(state, np.float32), 0.0)
    return [str(m) for m in unfamiliar(trained_on(STATISTICS) if facts is None else facts, observation, CONTRACT)]


def test_states_like_those_of_training_pass():
    assert found(0.4, 0.0, 1.0) == []
    assert found(0.9, -0.4, 1.0) == []  # some way out


def test_another_unit_is_named_with_both_values():
    assert found(400, 0.0, 1.0) == ["state element 'position.0': needed '0.2 to 0.6', offered 400.0"]
    assert found(0.4, -51, 1.0) == ["state element 'position.1': needed '-0.1 to 0.3', offered -51.0"]


def test_what_was_constant_in_training_or_is_not_known_is_not_judged():
    assert found(0.4, 0.0, 55.0) == []
    assert trained_on({}) == {}
    assert found(400, 400, 400, facts={}) == []
