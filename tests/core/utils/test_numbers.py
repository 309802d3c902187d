"""Durations, rates and counts that make no sense are refused by name, wherever they come in."""

import math
from functools import partial

import pytest

from forehand.control.chunking import Asynchronous, RecedingHorizon, TemporalEnsemble
from forehand.errors import ConfigurationError
from forehand.running import ControlLoop, WatchdogRobot
from forehand.utils.numbers import count, finite, not_negative, positive
from forehand.wire import PolicyServer, RemotePolicy, RobotHost
from forehand.wire.clients import ClientQuotas

from ..running.conftest import Scripted, Ticker, timetable

NOT_FINITE = (math.nan, math.inf, -math.inf, "1", True)


@pytest.mark.parametrize("bad", [*NOT_FINITE, -1, 0])
def test_what_is_not_positive_is_refused(bad):
    with pytest.raises(ConfigurationError, match=r"^policy\.timeout must be a positive number, not "):
        positive(**{"policy.timeout": bad})


@pytest.mark.parametrize("bad", [*NOT_FINITE, -0.1])
def test_what_is_negative_is_refused(bad):
    with pytest.raises(ConfigurationError, match=r"^stop must be 0 or a positive number, not "):
        not_negative(fine=0, stop=bad)


@pytest.mark.parametrize("bad", [*NOT_FINITE, 0, 1.5, 101])
def test_what_is_no_count_is_refused(bad):
    with pytest.raises(ConfigurationError, match=r"^jpeg must be a whole number from 1 to 100, not "):
        count(1, 100, jpeg=bad)


def test_what_is_fine_passes_and_none_is_left_out():
    positive(a=0.1, b=None, c=3)
    not_negative(a=0, b=None)
    count(0, a=0, b=None, c=7)
    finite(a=-2.5, b=None)


def drive(**options):
    return ControlLoop(Ticker(), Scripted(timetable(1)), RecedingHorizon(), **options)


ANY = "tcp://127.0.0.1:0"


@pytest.mark.parametrize("bad", [-1, math.nan, math.inf])
@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("policy_timeout", drive),
        ("reconnect_timeout", drive),
        ("watchdog", partial(WatchdogRobot, Ticker())),
        ("stop", partial(WatchdogRobot, Ticker())),
        *((name, partial(RobotHost, Ticker(), ANY)) for name in ("watchdog", "stop", "lease_timeout")),
        *(
            (name, partial(PolicyServer, Scripted(timetable(1)), ANY))
            for name in ("session_timeout", "disconnect_timeout", "latency_budget", "max_sessions", "max_batch")
        ),
        *((name, ClientQuotas) for name in ("clients", "pending", "rate", "sessions", "message")),
        ("timeout", partial(RemotePolicy, ANY)),
        ("steps", RecedingHorizon),
        ("blend", Asynchronous),
    ],
)
def test_whoever_takes_a_number_refuses_a_bad_one_by_name(name, make, bad):
    with pytest.raises(ConfigurationError, match=rf"{name} must be "):
        make(**{name: bad})


def test_an_ensemble_decays_to_either_side():
    TemporalEnsemble(-0.1)
    with pytest.raises(ConfigurationError, match=r"chunking\.decay must be a finite number"):
        TemporalEnsemble(math.nan)
