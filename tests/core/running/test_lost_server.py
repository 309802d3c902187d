"""A policy server that dies in mid-episode and comes back, over real sockets."""

import threading
import time

import pytest

from forehand.control.chunking import RecedingHorizon
from forehand.errors import AddressUnavailable
from forehand.running import ControlLoop, StepObserver
from forehand.wire import PolicyServer, RemotePolicy

from .conftest import CONTRACT, Scripted, timetable


class Conductor(StepObserver):
    """Stops the first server after five steps, starts the second once the robot holds, ends the run once it moves."""

    def __init__(self, first, stop):
        self.first, self.stop = first, stop
        self.again = threading.Event()
        self.held = self.moved_again = False

    def on_step(self, step):
        if step.step == 5:
            self.first.stop()
        if step.action is None:
            self.held = True
            self.again.set()
        elif self.held:
            self.moved_again = True
            self.stop.set()


def server_at(address, policy):
    """A server at ``address``, which ZeroMQ's own thread may be about to leave only now."""
    while True:
        try:
            return PolicyServer(policy, address)
        except AddressUnavailable:
            time.sleep(0.01)


@pytest.mark.slow
def test_the_robot_holds_and_goes_on_by_itself_in_a_session_that_has_seen_the_last_frames(ticker):
    before, after = Scripted(timetable(1), history=3), Scripted(timetable(1), history=3)
    server = PolicyServer(before, "tcp://127.0.0.1:0")
    stop, over = threading.Event(), threading.Event()
    conductor = Conductor(server, stop)

    def come_back():
        conductor.again.wait(30)
        with server_at(server.address, after).running():
            over.wait(60)

    def serve():
        server.run()
        come_back()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        remote = RemotePolicy(server.address, 20.0, CONTRACT)
        with ControlLoop(
            ticker, remote, RecedingHorizon(), policy_timeout=5.0, observers=[conductor], stop=stop
        ) as drive:
            assert drive.episode("go", max_steps=2000).reason == "stopped"
        remote.close()
    finally:
        conductor.again.set()
        over.set()
        thread.join()
    assert conductor.moved_again
    assert (before.opened, after.opened) == (1, 1)
    assert drive.report.holds.total() == 1
    asked = after.asked[0]
    assert after.seen[:3] == [asked - 2, asked - 1, asked]
    assert ticker.calls.count("hold") == 2  # once while the server was away, and at the end
