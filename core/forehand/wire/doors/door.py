"""What every door has: an address that strangers cannot reach unless they know its key, and sessions for its guests."""

from __future__ import annotations

import hmac
import secrets
from abc import ABC, abstractmethod
from collections.abc import Mapping
from functools import partial
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from forehand.contract import Contract
from forehand.errors import ConfigurationError
from forehand.wire.access import is_local
from forehand.wire.convert import contract_from_payload, need
from forehand.wire.doors.keys import Keys
from forehand.wire.errors import UnknownSession
from forehand.wire.policy_server import PolicyServer


class Door(ABC):
    """A foreign protocol's way into ``server``, at ``host``:``port`` (port 0 takes a free one).

    ``keys``: which of their keys is which of ours; ``api_key``: what clients have to show, needed off loopback;
    ``timeout``: seconds that an answer may take, since their requests carry no deadline.
    """

    protocol: ClassVar[str]
    scheme: ClassVar[str]

    def __init__(
        self, server: PolicyServer, host: str, port: int, keys: Keys, api_key: str | None = None, timeout: float = 10.0
    ) -> None:
        if not api_key and not is_local(f"tcp://{host}:{port}"):
            raise ConfigurationError(
                f"doors.{self.protocol} would let everyone in who reaches {host}: set doors.{self.protocol}.api_key=…, "
                f"or listen on 127.0.0.1. This protocol does not encrypt; cross networks you do not trust in a tunnel."
            )
        self.server, self.host, self.port, self.keys, self.timeout = server, host, port, keys, timeout
        self._api_key = api_key

    @property
    def address(self) -> str:
        """Where it listens, once it is open."""
        return f"{self.scheme}://{self.host}:{self.port}"

    @abstractmethod
    def open(self) -> None:
        """Begin to answer, once the server runs; raises :class:`~forehand.wire.AddressUnavailable`."""

    @abstractmethod
    def close(self) -> None:
        """Send the guests away."""

    def admits(self, shown: str | None) -> bool:
        """Whether ``shown`` is the key, or none is asked for."""
        return not self._api_key or hmac.compare_digest((shown or "").encode(), self._api_key.encode())


class Guest:
    """One foreign robot's session with the policy, opened at its first observation. For one thread at a time."""

    def __init__(self, door: Door) -> None:
        self._keys = door.keys
        # Each guest takes its turns as a client of its own.
        self._ask = partial(door.server.ask, budget=door.timeout, client=b"guest " + secrets.token_bytes(8))
        hello = self._ask("hello", {"contract": None})
        self._contract_payload = need(hello, "contract", dict)
        self.contract: Contract = contract_from_payload(self._contract_payload)
        self.facts: Mapping[str, Any] = hello["facts"]
        self._session: str | None = None
        self._instruction = ""

    def step(self, theirs: Mapping[str, Any]) -> tuple[NDArray[np.float32], dict[str, float]]:
        """Actions (H, A) for what their robot observes, and where the time went; another instruction starts anew."""
        observation, instruction = self._keys.read(theirs, self.contract)
        try:
            answer = self._step(observation, instruction)
        except UnknownSession:  # unused for too long
            self._session = None
            answer = self._step(observation, instruction)
        return answer["actions"], answer["timing"]

    def reset(self) -> None:
        """Forget the history, as at the start of an episode."""
        if self._session is not None:
            self.close()

    def close(self) -> None:
        """Give the session back."""
        session, self._session = self._session, None
        if session is not None:
            self._ask("close", {}, session=session)

    def _step(self, observation: dict[str, Any], instruction: str) -> dict[str, Any]:
        if self._session is None:
            opening = {"instruction": instruction, "contract": self._contract_payload}
            self._session = self._ask("open", opening)["session"]
        elif instruction != self._instruction:
            self._ask("reset", {"instruction": instruction}, session=self._session)
        self._instruction = instruction
        request = {"observation": observation, "forecast": False}
        return self._ask("step", request, session=self._session)
