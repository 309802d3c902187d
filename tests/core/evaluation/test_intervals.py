"""Intervals of rates and means."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forehand.evaluation.intervals import bootstrap_interval, wilson_interval


@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"),
    # scipy.stats.binomtest(x, n).proportion_ci(method="wilson")
    [(43, 50, 0.7381, 0.9305), (0, 10, 0.0, 0.2775), (10, 10, 0.7225, 1.0), (1, 2, 0.0945, 0.9055)],
)
def test_known_values(successes, trials, low, high):
    assert wilson_interval(successes, trials) == pytest.approx((low, high), abs=1e-4)


def test_no_trials_say_nothing():
    assert wilson_interval(0, 0) == (0.0, 1.0)


def test_impossible_counts_are_refused():
    with pytest.raises(ValueError, match="impossible"):
        wilson_interval(3, 2)


@given(st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_the_interval_holds_the_rate_and_mirrors(counts):
    successes, trials = counts
    low, high = wilson_interval(successes, trials)
    assert 0 <= low <= successes / trials <= high <= 1
    mirrored = wilson_interval(trials - successes, trials)
    assert (1 - mirrored.high, 1 - mirrored.low) == pytest.approx((low, high))


def test_more_trials_narrow_it_and_it_prints_short():
    narrow, wide = wilson_interval(80, 100), wilson_interval(8, 10)
    assert narrow.high - narrow.low < wide.high - wide.low
    assert str(wilson_interval(43, 50)) == "[0.74, 0.93]"


def test_the_bootstrap_interval_is_about_the_normal_one_and_always_the_same():
    values = list(np.random.default_rng(0).normal(5, 2, 200))
    low, high = bootstrap_interval(values)
    half = 1.96 * np.std(values) / np.sqrt(200)
    assert (low, high) == (
        pytest.approx(np.mean(values) - half, abs=0.06),
        pytest.approx(np.mean(values) + half, abs=0.06),
    )
    assert bootstrap_interval(values) == (low, high)
    assert bootstrap_interval([3.0, 3.0]) == (3.0, 3.0)
    assert bootstrap_interval([3.0]) is None
