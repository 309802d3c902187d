"""What is known of another machine's clock never makes an old command young, whatever the network and the clocks do."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forehand.utils.clock import DRIFT, FRESH, STANDSTILL, RemoteClock, StandstillDetector, clock

DELAYS = st.lists(st.tuples(st.floats(0, 60), st.floats(0, 5)), min_size=1, max_size=20)


@given(st.floats(-1e6, 1e6), st.floats(-DRIFT, DRIFT), DELAYS, st.floats(0, 3600))
def test_the_bound_is_never_ahead_of_the_other_clock(offset, drift, answers, later):
    def true(now):
        return now * (1 + drift) + offset

    remote, now = RemoteClock(), 0.0
    for pause, delay in answers:
        now += pause + delay
        remote.hear(true(now - delay), now)
        assert remote.at(now) <= true(now) + 1e-6
    assert remote.at(now + later) <= true(now + later) + 1e-6


def test_the_shortest_way_gives_the_closest_bound_until_drift_may_have_spoilt_it():
    remote = RemoteClock()
    for now, delay in ((0.0, 0.5), (1.0, 0.01), (2.0, 0.3)):
        remote.hear(now - delay + 100, now)
    assert remote.at(2.0) == pytest.approx(102 - 0.01 - DRIFT)
    remote.hear(1000 - 0.3 + 100, 1000.0)
    assert remote.at(1000.0) == pytest.approx(1100 - 0.3)


@pytest.mark.parametrize("stamp", [None, "5", math.nan, math.inf, True])
def test_who_states_no_time_leaves_the_clock_unknown(stamp):
    remote = RemoteClock()
    remote.hear(stamp, 0.0)
    assert not remote.known
    assert not remote.is_stale(1e9)


def test_a_bound_is_stale_when_no_answer_came_for_long():
    remote = RemoteClock()
    remote.hear(5.0, 0.0)
    assert not remote.is_stale(FRESH)
    assert remote.is_stale(FRESH + 0.1)
    remote.hear(0.0, FRESH)  # a worse one, but it says that the bound holds
    assert not remote.is_stale(FRESH + 0.1)


def test_a_standstill_is_noticed_at_the_first_look_and_suspected_for_no_longer_than_it_was():
    detector = StandstillDetector(now=0.0, aftermath=2.0)
    assert not detector.look(0.1)
    assert not detector.look(0.1 + STANDSTILL / 2)
    assert detector.look(2.0)
    assert detector.look(3.0)
    assert not detector.look(3.5)
    assert detector.look(60.0)
    assert detector.look(61.0)
    assert not detector.look(62.0)


def test_the_clock_goes_forward():
    assert clock() <= clock()
