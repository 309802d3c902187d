"""A robot whose clock is the number of times it was looked at, and policies made of a function."""

import threading

import numpy as np
import pytest

from forehand import Camera, Contract, Field, Forecast, Observation, Policy, Prediction, Robot, Session

CONTRACT = Contract(
    cameras=(Camera("static", 16, 16, "static"),),
    state=(Field("position", 1, unit="m"),),
    action=(Field("motion", 1, unit="m", mode="delta"),),
    rate=50.0,
)


class Ticker(Robot):
    """Does nothing but note what is asked of it; its state and its images are the number of the look."""

    def __init__(self, contract=CONTRACT):
        self.contract = contract
        self.calls, self.done = [], {}
        self.looks = -1

    def reset(self, episode=None):
        self.calls.append("reset")
        self.looks = -1
        return self.observe()

    def observe(self):
        self.looks += 1
        images = {c.name: np.full((c.height, c.width, 3), self.looks % 256, np.uint8) for c in self.contract.cameras}
        return Observation(images, np.array([self.looks], np.float32), self.looks / self.contract.rate)

    def act(self, action):
        self.calls.append("act")
        self.done[self.looks] = float(action[0])
        return action

    def hold(self):
        self.calls.append("hold")

    def close(self):
        self.calls.append("close")


class Scripted(Policy):
    """Answers with ``function(observation)``, a chunk; ``history`` frames of every session are noted in ``seen``."""

    def __init__(self, function, history=1, contract=CONTRACT):
        self.function, self.history, self.contract = function, history, contract
        self.seen, self.asked, self.opened, self.closed = [], [], 0, 0
        self.threads = set()

    def open(self, instruction, seed=0):
        self.opened += 1
        policy = self

        class Noting(Session):
            def close(self):
                policy.closed += 1

        return Noting(instruction, seed)

    def remember(self, session, observations):
        self.seen += [float(o.state[0]) for o in observations]

    def step(self, sessions, observations, *, forecast=False):
        self.threads.add(threading.current_thread().name)
        (observation,) = observations
        self.seen.append(float(observation.state[0]))
        self.asked.append(float(observation.state[0]))
        chunk = np.asarray(self.function(observation), np.float32).reshape(-1, 1)
        return [Prediction(chunk, (Forecast(1, dict(observation.images)),) if forecast else ())]


def timetable(length):
    """A chunk that says of every step which one it is for."""
    return lambda observation: observation.state[0] + np.arange(length)


@pytest.fixture
def ticker():
    return Ticker()
