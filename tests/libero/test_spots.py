"""Where objects can stand; no simulator."""

import numpy as np
import pytest

from forehand_libero.experts.geometry import filled
from forehand_libero.experts.plans import ordered
from forehand_libero.experts.spots import free_spots, support

HALF = np.array([0.1, 0.1])


def test_a_spot_is_the_nearest_that_touches_nothing():
    shape = filled("box", np.array([0.03, 0.03, 0.05]))
    tower = filled("box", np.array([0.02, 0.02, 0.1])) + np.array([0.0, 0.0, 0.1])
    first, *_, last = free_spots(shape, tower, -HALF, HALF, np.zeros(2), height=0.01)
    assert 0.048 < np.abs(first).max() < 0.06
    assert np.abs(last).max() < 0.03, "what touches most comes last"
    assert free_spots(shape, tower, -HALF, HALF, np.zeros(2), height=0.3)[0] == pytest.approx(np.zeros(2), abs=1e-9)
    assert len(free_spots(shape, tower, np.zeros(2), np.zeros(2), np.zeros(2), 0.0)) == 1


def test_an_object_stands_on_the_highest_of_what_is_below():
    floor = filled("box", np.array([0.1, 0.1, 0.01]))
    lid = floor + np.array([0.0, 0.0, 0.2])
    both = np.concatenate([floor, lid])
    assert support(both, np.zeros(2), below=0.1) == pytest.approx(0.01)
    assert support(both, np.zeros(2)) == pytest.approx(0.21)
    assert support(both, np.array([1.0, 1.0])) == -np.inf


def test_what_is_to_be_closed_is_closed_last():
    goals = [["close", "drawer"], ["in", "bowl", "drawer"], ["turnon", "stove"]]
    assert ordered(goals) == [goals[1], goals[2], goals[0]]
