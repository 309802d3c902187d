"""Comparison of arms: known values, and what cannot be paired."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from forehand.errors import ConfigurationError
from forehand.evaluation.comparison.arms import LENGTH, Run, pair
from forehand.evaluation.comparison.compare import compare_arms
from forehand.evaluation.comparison.statistics import (
    detectable,
    holm,
    mcnemar_p,
    permutation_p,
    seeds_needed,
    superiority,
    two_way_interval,
)


def run(arm, seed, values, **changes):
    values = np.array(values, float)
    scenes = tuple(f"scene {i}" for i in range(len(values)))
    success = (values[:, None] > np.arange(2)).astype(float)
    made = Run(
        Path(f"{arm}_{seed}"), arm, seed, LENGTH, scenes, ("a", "b") * (len(values) // 2), values, success, {"x": 1}
    )
    return dataclasses.replace(made, **changes)


def test_tests_have_their_known_values():
    assert permutation_p([1.0, 2.0, 3.0, 4.0, 5.0, 6.0]) == pytest.approx(2 / 2**6)
    assert permutation_p([1.0, -1.0, 1.0, -1.0]) == pytest.approx(1)
    assert permutation_p([1.0]) is None
    assert mcnemar_p(1, 9) == pytest.approx(22 / 1024)
    assert mcnemar_p(0, 0) == 1
    assert holm([0.01, None, 0.04, 0.03]) == [pytest.approx(0.03), None, pytest.approx(0.06), pytest.approx(0.06)]
    assert superiority(np.array([[1.0, 0.0], [-1.0, 2.0]])) == pytest.approx(0.625)


def test_the_detectable_difference_is_found_with_the_power_it_promises():
    spread = [-1.0, 1.0, 0.5, -0.5, 0.0, 0.3, -0.3, 0.2]
    size = detectable(spread)
    scale = np.std(spread, ddof=1)
    drawn = np.random.default_rng(0).normal(size, scale, (20_000, len(spread)))
    power = np.mean(stats.ttest_1samp(drawn, 0, axis=1).pvalue < 0.05)
    assert power == pytest.approx(0.8, abs=0.02)
    n = seeds_needed([0.1, 0.9, -0.2, 0.6])
    assert detectable([0.1, 0.9, -0.2, 0.6], n) <= 0.35 < detectable([0.1, 0.9, -0.2, 0.6], n - 1)


def test_the_interval_is_wider_where_seeds_differ_though_scenes_are_many():
    draw = np.random.default_rng(0)
    scenes_only = draw.normal(0.5, 1, (1, 200)).repeat(8, 0)
    seeds_only = draw.normal(0.5, 1, (8, 1)).repeat(200, 1)
    for of, count in ((scenes_only, 200), (seeds_only, 8)):
        low, high = two_way_interval(of)
        width = 2 * 1.96 * of.std() / np.sqrt(count)
        assert high - low == pytest.approx(width, rel=0.1)
        assert low < of.mean() < high
    assert two_way_interval(np.ones((1, 5))) is None


def test_arms_are_compared_by_seed_task_and_step_of_the_chain():
    runs = [run("bc", s, [0, 1, 0, 1]) for s in range(6)] + [run("seer", s, [2, 1, 2, 1]) for s in range(6)]
    found = compare_arms(pair(runs))
    (one,) = found["contrasts"]
    assert [one["difference"], one["p"], one["p_holm"]] == [1, pytest.approx(2 / 64), pytest.approx(2 / 64)]
    assert {task: of["difference"] for task, of in one["by_task"].items()} == {"a": 2, "b": 0}
    assert [of["difference"] for of in one["by_step"]] == [0.5, 0.5]
    assert [(flip["scene"], flip["gained"], flip["lost"]) for flip in one["flips"]] == [(0, 6, 0), (2, 6, 0)]
    assert one["superiority"] == 0.75
    assert "judge more scenes" in one["verdict"]
    (further,) = compare_arms(pair([run("bc", 0, [0, 1, 1, 0]), run("seer", 0, [1, 1, 0, 0])]))["contrasts"]
    assert [(flip["scene"], flip["gained"], flip["lost"]) for flip in further["flips"]] == [(0, 1, 0), (2, 0, 1)]
    (single,) = compare_arms(pair([run("bc", 0, [0, 1]), run("seer", 0, [2, 1])]))["contrasts"]
    assert [single["p"], single["interval"], single["mcnemar_p"]] == [None, None, 1.0]
    assert "At least 6 seeds" in single["verdict"]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"scenes": ("scene 0", "other")}, "scene 1 differs"),
        ({"conditions": {"x": 2}}, "x: 1 and 2"),
        ({"seed": 7}, "only one of them has 0, 7"),
        ({"arm": "bc"}, "both of arm 'bc' and training seed 0"),
        ({"measure": "success rate"}, "one is of average chain length, the other of success rate"),
    ],
)
def test_what_cannot_be_paired_is_refused(changes, said):
    with pytest.raises(ConfigurationError, match=said):
        pair([run("bc", 0, [0, 1]), dataclasses.replace(run("seer", 0, [2, 1]), **changes)])
