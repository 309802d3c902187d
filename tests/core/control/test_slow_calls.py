"""A driver that hangs while someone waits for it is named."""

import logging
import threading

import numpy as np
import pytest

from forehand.control.slow_calls import SlowCallReporter


@pytest.mark.parametrize("method", ["connect", "observe", "act", "step", "hold", "stop", "close"])
def test_a_call_that_does_not_return_is_named_once(cart, caplog, method):
    now = [0.0]
    robot = SlowCallReporter(cart, patience=5.0, clock=lambda: now[0])
    begun, released = threading.Event(), threading.Event()

    def hang(*_):
        begun.set()
        assert released.wait(60)

    setattr(cart, method, hang)
    arguments = (np.zeros(1, np.float32),) if method in ("act", "step") else ()
    call = threading.Thread(target=getattr(robot, method), args=arguments)
    call.start()
    assert begun.wait(60)
    with caplog.at_level(logging.ERROR):
        now[0] = 4.0
        robot.check()
        assert not caplog.records
        now[0] = 6.5
        robot.check()
        robot.check()
    released.set()
    call.join(60)
    robot.close()
    (record,) = caplog.records
    assert f"{method}() has not returned for 6.5 s" in record.getMessage()


def test_a_thread_looks_from_connect_to_close(cart):
    robot = SlowCallReporter(cart, patience=0.01)
    released = threading.Event()
    reported = threading.Event()
    cart.hold = lambda: released.wait(60)

    class Reported(logging.Handler):
        def emit(self, record):
            reported.set()

    logger = logging.getLogger("forehand.control.slow_calls")
    logger.addHandler(handler := Reported())
    before = set(threading.enumerate())
    try:
        robot.connect()
        (thread,) = [t for t in threading.enumerate() if t.name == "slow calls" and t not in before]
        call = threading.Thread(target=robot.hold)
        call.start()
        assert reported.wait(60)
        released.set()
        call.join(60)
        robot.close()
        thread.join(60)
        assert not thread.is_alive()
    finally:
        logger.removeHandler(handler)
