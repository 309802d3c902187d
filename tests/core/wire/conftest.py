"""Small real parts: policies made of a function, a server around them, and a client that speaks raw frames."""

from __future__ import annotations

import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress

import numpy as np
import pytest
import zmq
from tests.child_process import ChildProcess

from forehand import Camera, Contract, Episode, Field, Forecast, Observation, Policy, Prediction, Robot, Session
from forehand.wire import PolicyServer, WireError
from forehand.wire.connection import ROBOT, Connection
from forehand.wire.messages import Message, decode, encode
from forehand.wire.serialize import episode_to_payload, observation_from_payload

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
    return [Prediction(np.stack([o.state, -o.state]), (Forecast(3, dict(o.images)),)) for o in observations]


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
            function: Step = first_state_as_action,
            address: str = "tcp://127.0.0.1:0",
            contract: Contract = contract,
            **options: object,
        ) -> PolicyServer:
            server = PolicyServer(FunctionPolicy(contract, function), address, **options)
            return stack.enter_context(server.running())

        yield start


class ManualClock:
    """A clock that advances when the test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


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


class RobotClient(Robot):
    """A client of a robot host, on the wire's own connection."""

    def __init__(self, address: str, timeout: float = 10.0) -> None:
        self.connection = Connection(address, ROBOT, timeout)
        self.session: str | None = None

    def connect(self) -> None:
        self.contract = self.connection.hello()
        self.session = self.connection.request("open", {})["session"]

    def reset(self, episode: Episode | None = None) -> Observation:
        return self._observation(self._ask("reset", {"episode": episode_to_payload(episode)}, moves=True))

    def observe(self) -> Observation:
        return self._observation(self._ask("observe", {}))

    def act(self, action: np.ndarray) -> np.ndarray:
        return self._ask("act", {"action": action}, moves=True)["commanded"]

    def step(self, action: np.ndarray) -> Observation:
        return self._observation(self._ask("step", {"action": action}, moves=True))

    def hold(self) -> None:
        self._ask("hold", {})

    def stop(self) -> None:
        self._ask("stop", {})

    def close(self) -> None:
        if self.session is not None:
            with suppress(WireError):
                self._ask("close", {})
        self.connection.close()

    def _ask(self, kind: str, payload: dict, moves: bool = False) -> dict:
        return self.connection.request(kind, payload, session=self.session, moves=moves)

    def _observation(self, answer: dict) -> Observation:
        return observation_from_payload(answer["observation"], self.contract)


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
def process() -> Iterator[Callable[..., tuple[ChildProcess, str]]]:
    """Run Python code in a process of its own, and wait for the first line that it prints."""
    started: list[ChildProcess] = []

    def start(code: str, *arguments: str) -> tuple[ChildProcess, str]:
        command = [sys.executable, "-c", code, *arguments]
        child = ChildProcess(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        started.append(child)
        assert child.stdout is not None
        return child, child.stdout.readline().strip()

    yield start
    for child in started:
        child.end()


def read_metrics(address: str) -> dict[str, float]:
    """What Prometheus would read there: name and labels → value."""
    with urllib.request.urlopen(address, timeout=20) as page:
        lines = page.read().decode().splitlines()
    return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))}
