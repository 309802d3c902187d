"""Signals as requests to stop: the first is a request, a second one of the given kinds is handled as before."""

import signal
import threading

import pytest

from forehand.utils.signals import REQUESTS, stop_event, stopped_by_signals


@pytest.fixture
def handled():
    """Signals that reach the handlers from before."""
    numbers = []
    before = {number: signal.signal(number, lambda number, frame: numbers.append(number)) for number in REQUESTS}
    yield numbers
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("first", REQUESTS)
@pytest.mark.parametrize("second", REQUESTS)
def test_the_first_is_a_request_and_a_second_is_handled_as_before(handled, first, second):
    with stop_event() as stop:
        assert not stop.is_set()
        signal.raise_signal(first)
        assert stop.is_set()
        assert not handled
        signal.raise_signal(second)
    assert handled == [second]
    signal.raise_signal(first)
    assert handled == [second, first]


def test_a_signal_that_does_not_force_remains_a_request(handled):
    requests = []
    with stopped_by_signals(lambda: requests.append("stop"), forced_by=[signal.SIGINT]):
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)
        assert requests == ["stop", "stop"]
        signal.raise_signal(signal.SIGINT)
    assert handled == [signal.SIGINT]
    signal.raise_signal(signal.SIGTERM)
    assert handled == [signal.SIGINT, signal.SIGTERM]


def test_outside_the_main_thread_signals_are_left_alone(handled):
    before = [signal.getsignal(number) for number in REQUESTS]
    within = []

    def enter():
        with stop_event():
            within.extend(signal.getsignal(number) for number in REQUESTS)

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert within == before
