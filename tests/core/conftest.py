"""A world small enough to reason about: a cart on a line, and a policy that listens."""

from pathlib import Path

import numpy as np
import pytest

from forehand import (
    Benchmark,
    Camera,
    Contract,
    Episode,
    Field,
    Forecast,
    Observation,
    Policy,
    Prediction,
    Robot,
    registry,
)

PARTS = Path(__file__).parents[1] / "data/parts"

CONTRACT = Contract(
    cameras=(Camera("static", 16, 16, "static"), Camera("wrist", 8, 16, "wrist")),
    state=(Field("position", 1, unit="m"),),
    action=(Field("motion", 1, unit="m", mode="delta", low=(-1.0,), high=(1.0,)),),
    rate=10.0,
)


class Cart(Robot):
    """Succeeds when it comes to stand 3 m to the side that the episode's task names."""

    def __init__(self, contract=CONTRACT):
        self.contract = contract
        self.calls = []

    def connect(self):
        self.calls.append("connect")

    def reset(self, episode=None):
        self.calls.append("reset")
        self.side = {"left": -1, "right": 1}[episode.task]
        if not episode.continues:
            self.position = np.random.default_rng(episode.seed).uniform(-1, 1)
            self.time = 0
        return self.observe()

    def observe(self):
        images = {c.name: np.full((c.height, c.width, 3), 100, np.uint8) for c in self.contract.cameras}
        state = np.array([self.position], np.float32)
        return Observation(images, state, self.time / 10, success=bool(self.position * self.side >= 3))

    def act(self, action):
        self.calls.append("act")
        self.position += float(action[0])
        self.time += 1
        return action

    def hold(self):
        self.calls.append("hold")

    def close(self):
        self.calls.append("close")


class Line(Benchmark):
    """Left and right in turn."""

    tasks = ("left", "right")

    def episodes(self, count, seed, tasks=None):
        names = tasks or self.tasks
        return [Episode(names[i % len(names)], f"go {names[i % len(names)]}", seed + i, 8) for i in range(count)]

    def counterfactual_instruction(self, episode):
        return "go right" if episode.task == "left" else "go left"


class Listener(Policy):
    """Goes where it is told, and foresees that nothing changes in three steps."""

    contract = CONTRACT

    def step(self, sessions, observations, *, forecast=False):
        return [
            Prediction(
                np.full((2, 1), -1 if s.instruction == "go left" else 1, np.float32),
                (Forecast(3, dict(o.images)),) if forecast else (),
            )
            for s, o in zip(sessions, observations, strict=True)
        ]


@pytest.fixture(scope="module")
def example_parts():
    """The plugin of tests/data/parts, and no other."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(PARTS))
        patch.setenv("FOREHAND_PLUGINS", "example")
        registry.cache_clear()
        yield
    registry.cache_clear()


@pytest.fixture
def cart():
    return Cart()


@pytest.fixture
def carts():
    return lambda count: [Cart() for _ in range(count)]


@pytest.fixture
def line():
    return Line()


@pytest.fixture
def listener():
    return Listener()
