"""Policy client: a policy served by another process, on this computer or another."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any, Self

from forehand.contracts.contract import Contract
from forehand.errors import WireError
from forehand.policy import Policy, Prediction, Session
from forehand.robot import Observation
from forehand.wire.connection import POLICY, Connection
from forehand.wire.messages import MAX_FRAMES
from forehand.wire.serialize import (
    Payload,
    contract_from_payload,
    observation_to_payload,
    prediction_from_payload,
    require,
)

CLOSE_TIMEOUT = 2.0
"""Seconds to wait for the answer to ``close``: an unused session expires by itself."""


@dataclass(frozen=True)
class Timing:
    """Timing of one step.

    Which observation a step's answer belongs to, by the robot's clock; where its time went, in seconds: waiting for
    its turn, computing; and how many sessions shared the batch.
    """

    observed: float
    queued: float
    computed: float
    batch: int


class PolicyClient:
    """A client of the policy server at ``address``; ``timeout`` in seconds holds for every request that states none.

    ``jpeg``: quality, 1 to 100, with which pictures are sent, in both directions; None sends them uncompressed.

    Connects at the first use; the server refuses a robot's ``contract`` that does not fit its policy. For several robots
    at once, make one client for each thread.
    """

    def __init__(
        self, address: str, timeout: float = 5.0, contract: Contract | None = None, jpeg: int | None = None
    ) -> None:
        self._stated = contract
        self._connection = Connection(address, POLICY, timeout, contract, jpeg)

    @property
    def alive(self) -> bool:
        """Whether the server answers heartbeats."""
        return self._connection.alive

    @property
    def contract(self) -> Contract:
        """What the policy needs and commands."""
        return self._connection.contract

    def describe(self) -> dict[str, Any]:
        """Facts about the policy, for people."""
        self._connection.hello()
        return self._connection.facts

    def open(self, instruction: str, contract: Contract | None = None, seed: int = 0) -> RemoteSession:
        """A new session for the robot of this ``contract``, which the server compares with the policy's first.

        Without one it is the client's; and where that has none either, the caller answers for having compared its robot
        with :attr:`contract`, which is then what is sent. ``seed``, 0 or more, is of whatever the policy draws at random.
        """
        stated = (contract or self._stated or self.contract).to_dict()
        payload = {"instruction": instruction, "contract": stated, "seed": seed}
        answer = self._connection.request("open", payload)
        own = contract_from_payload(require(answer, "contract", dict)) if "contract" in answer else self.contract
        return RemoteSession(self._connection, require(answer, "session", str), instruction, seed, own)

    def ping(self, timeout: float | None = None) -> None:
        """Return when the server answers."""
        self._connection.request("ping", {}, timeout=timeout)

    def close(self) -> None:
        """Let go of the connection. Sessions are left to expire; close them first."""
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class RemoteSession(Session):
    """One robot's session at a policy server; made by :meth:`PolicyClient.open`.

    It outlives a lost connection, but not the server: then :class:`UnknownSession` is raised; open another.
    """

    timing: Timing | None = None
    """Where the time of the latest step went."""

    def __init__(
        self, connection: Connection, token: str, instruction: str, seed: int = 0, contract: Contract | None = None
    ) -> None:
        super().__init__(instruction, seed)
        self._contract = contract or connection.contract
        self._connection = connection
        self._token = token
        self._earlier: list[Observation] = []

    def step(self, observation: Observation, forecast: bool = False, timeout: float | None = None) -> Prediction:
        """What to do now, and if ``forecast``, what the policy expects to see."""
        earlier, self._earlier = self._earlier, []
        payload = {"observation": self._payload(observation), "forecast": forecast}
        if earlier:
            payload["earlier"] = [self._payload(frame) for frame in earlier]
        answer = self._connection.request("step", payload, session=self._token, timeout=timeout)
        timing = require(answer, "timing", dict)
        self.timing = Timing(
            require(timing, "observed", float),
            require(timing, "queued", float),
            require(timing, "computed", float),
            require(timing, "batch", int),
        )
        return prediction_from_payload(answer, self._contract)

    def _payload(self, observation: Observation) -> Payload:
        """The observation, with those of its sensors that the policy reads."""
        read = {sensor.name for sensor in self._contract.sensors}
        sensors = {name: values for name, values in observation.sensors.items() if name in read}
        return observation_to_payload(replace(observation, sensors=sensors) if observation.sensors else observation)

    def remember(self, observations: Sequence[Observation], history: int) -> None:
        """Send these frames before the next observation, as far as a policy that looks at ``history`` needs them."""
        arrays = len(self._contract.observed) + 1
        most = min(history, (MAX_FRAMES - 1) // arrays) - 1  # the header and the newest observation go with them
        self._earlier = [*self._earlier, *observations][-most:] if most > 0 else []

    def reset(self, instruction: str | None = None) -> None:
        """Forget the history, as at the start of an episode; optionally take a new instruction."""
        self._earlier = []
        self._connection.request("reset", {"instruction": instruction}, session=self._token)
        super().reset(instruction)

    def close(self) -> None:
        """Close the session at the server; nothing is raised where it is gone there."""
        with suppress(WireError):
            self._connection.request("close", {}, session=self._token, timeout=CLOSE_TIMEOUT)


class RemotePolicy(Policy):
    """The policy at ``address`` as a :class:`Policy`, for loops that do not care where it runs."""

    def __init__(
        self, address: str, timeout: float = 5.0, contract: Contract | None = None, jpeg: int | None = None
    ) -> None:
        """Connect, let the server compare the robot's ``contract`` if it is given, and learn the policy's."""
        self._connecting: dict[str, Any] = {"address": address, "timeout": timeout, "jpeg": jpeg}
        self._client = PolicyClient(contract=contract, **self._connecting)
        self.contract = self._client.contract
        facts = self._client.describe()
        history = facts.get("history")
        self.history = history if isinstance(history, int) and history > 1 else 1
        self.samples = facts.get("samples") is True
        self._several = "embodiments" in facts

    def for_robot(self, contract: Contract, needer: str = "the policy", offerer: str = "the robot") -> Policy:
        """The same, or of several embodiments at the server the one that fits, which the server picks."""
        if not self._several:
            return super().for_robot(contract, needer, offerer)
        return RemotePolicy(contract=contract, **self._connecting)

    def open(self, instruction: str, seed: int = 0) -> Session:
        """A session at the server."""
        return self._client.open(instruction, seed=seed)

    def step(
        self, sessions: Sequence[Session], observations: Sequence[Observation], *, forecast: bool = False
    ) -> list[Prediction]:
        """One answer for each session, asked one after the other."""
        answers = []
        for session, observation in zip(sessions, observations, strict=True):
            answers.append(_own(session).step(observation, forecast))
        return answers

    def remember(self, session: Session, observations: Sequence[Observation]) -> None:
        """Keep the frames; they travel with the next observation."""
        _own(session).remember(observations, self.history)

    def describe(self) -> dict[str, Any]:
        """Facts about the policy at the server."""
        return self._client.describe()

    def close(self) -> None:
        """Let go of the connection."""
        self._client.close()


def _own(session: Session) -> RemoteSession:
    assert isinstance(session, RemoteSession), "sessions come from open()"
    return session
