"""Small real parts: policies made of a function, a server around them, and a client that speaks raw frames."""

from __future__ import annotations

import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack

import numpy as np
import pytest
import zmq

from forehand import Camera, Contract, Field, Observation, Policy, Prediction, Session
from forehand.wire import PolicyServer
from forehand.wire.messages import Message, decode, encode

Step = Callable[[Sequence[Session], Sequence[Observation]], list[Prediction]]


@pytest.fixture
def contract() -> Contract:
    cameras = (Camera("static", 24, 32, "static"), Camera("wrist", 16, 16, "wrist"))
    state = (Field("pose", 6, unit="m"), Field("gripper", 1, gripper="open"))
    action = (Field("pose", 6, mode="delta", low=(-1.0,) * 6, high=(1.0,) * 6), Field("gripper", 1, gripper="open"))
    return Contract(cameras, state, action, 15.0)


@pytest.fixture
def sense(contract: Contract) -> Callable[..., Observation]:
    """An observation that fits the contract, another one for each number."""

    def make(number: int = 0) -> Observation:
        random = np.random.default_rng(number)
        images = {c.name: random.integers(0, 256, (c.height, c.width, 3), np.uint8) for c in contract.cameras}
        return Observation(images, random.normal(size=contract.state_size).astype(np.float32), number / 15, None)

    return make


def first_state_as_action(sessions: Sequence[Session], observations: Sequence[Observation]) -> list[Prediction]:
    """A policy whose answers show which observation they belong to."""
    return [Prediction(np.stack([o.state, -o.state]), dict(o.images), 3) for o in observations]


class FunctionPolicy(Policy):
    """A policy made of one function; it counts the sessions of every call."""

    def __init__(self, contract: Contract, function: Step) -> None:
        self.contract = contract
        self.function = function
        self.batches: list[int] = []

    def step(
        self, sessions: Sequence[Session], observations: Sequence[Observation], *, forecast: bool = False
    ) -> list[Prediction]:
        self.batches.append(len(sessions))
        answers = self.function(sessions, observations)
        return answers if forecast else [Prediction(a.actions) for a in answers]


@pytest.fixture
def serve(contract: Contract) -> Iterator[Callable[..., PolicyServer]]:
    """Start a policy server around a function; it is stopped when the test ends."""
    with ExitStack() as stack:

        def start(
            function: Step = first_state_as_action, address: str = "tcp://127.0.0.1:0", **options: object
        ) -> PolicyServer:
            server = PolicyServer(FunctionPolicy(contract, function), address, **options)
            return stack.enter_context(server.running())

        yield start


class RawClient:
    """A DEALER socket whose user decides every byte."""

    def __init__(self, address: str) -> None:
        self.socket = zmq.Context.instance().socket(zmq.DEALER)
        self.socket.linger = 0
        self.socket.connect(address)

    def send(self, kind: str, id: int, payload=None, session: str | None = None, budget: float | None = 10) -> None:
        self.socket.send_multipart(encode(Message(kind, id, payload or {}, session, budget)))

    def answer(self, timeout: float = 20) -> Message | None:
        return decode(self.socket.recv_multipart()) if self.socket.poll(timeout * 1000) else None

    def open(self, contract: Contract, id: int = 1) -> str:
        """Say hello and open a session; its token."""
        self.ask("hello", id, {"contract": None})
        return self.ask("open", id + 1, {"instruction": "push", "contract": contract.to_dict()}).payload["session"]

    def ask(self, kind: str, id: int, *rest: object, **options: object) -> Message:
        self.send(kind, id, *rest, **options)
        answer = self.answer()
        assert answer is not None
        assert answer.id == id
        return answer


@pytest.fixture
def raw() -> Iterator[Callable[[str], RawClient]]:
    clients: list[RawClient] = []

    def connect(address: str) -> RawClient:
        clients.append(RawClient(address))
        return clients[-1]

    yield connect
    for client in clients:
        client.socket.close()


@pytest.fixture
def process() -> Iterator[Callable[..., tuple[subprocess.Popen, str]]]:
    """Run Python code in a process of its own, and wait for the first line that it prints."""
    started: list[subprocess.Popen] = []

    def start(code: str, *arguments: str) -> tuple[subprocess.Popen, str]:
        command = [sys.executable, "-c", code, *arguments]
        child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        started.append(child)
        assert child.stdout is not None
        return child, child.stdout.readline().strip()

    yield start
    for child in started:
        child.kill()
        child.communicate()


def read_metrics(address: str) -> dict[str, float]:
    """What Prometheus would read there: name and labels → value."""
    with urllib.request.urlopen(address, timeout=20) as page:
        lines = page.read().decode().splitlines()
    return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))}
