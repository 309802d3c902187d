"""Base class of protocol adapters: access control, and sessions per client."""

from __future__ import annotations

import hmac
import secrets
from abc import ABC, abstractmethod
from collections.abc import Mapping
from functools import partial
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from forehand.contracts.contract import Contract
from forehand.errors import ConfigurationError, UnknownSession
from forehand.utils.addresses import bare_host, is_loopback, with_port
from forehand.wire.adapters.key_map import KeyMap
from forehand.wire.policy_server import PolicyServer
from forehand.wire.serialize import contract_from_payload, require


class ProtocolAdapter(ABC):
    """A foreign protocol's way into ``server``, at ``host``:``port`` (port 0 takes a free one).

    ``key_map``: which of their keys is which of ours; ``api_key``: what clients have to show, needed off loopback;
    ``timeout``: seconds that an answer may take, since their requests carry no deadline.
    """

    protocol: ClassVar[str]
    scheme: ClassVar[str]

    def __init__(
        self,
        server: PolicyServer,
        host: str,
        port: int,
        key_map: KeyMap,
        api_key: str | None = None,
        timeout: float = 10.0,
    ) -> None:
        host = bare_host(host)
        if not api_key and not is_loopback(host):
            raise ConfigurationError(
                f"adapters.{self.protocol} would accept everyone who reaches {host}: set "
                f"adapters.{self.protocol}.api_key=…, or listen on 127.0.0.1. This protocol does not encrypt; cross "
                f"networks you do not trust in a tunnel."
            )
        self.server, self.host, self.port, self.key_map, self.timeout = server, host, port, key_map, timeout
        self._api_key = api_key

    @property
    def address(self) -> str:
        """Where it listens, once it is open."""
        return f"{self.scheme}://{with_port(self.host, self.port)}"

    @abstractmethod
    def open(self) -> None:
        """Begin to answer, once the server runs; raises :class:`~forehand.wire.AddressUnavailable`."""

    @abstractmethod
    def close(self) -> None:
        """Close every connection."""

    def authenticate(self, shown: str | None) -> bool:
        """Whether ``shown`` is the key, or none is asked for."""
        return not self._api_key or hmac.compare_digest((shown or "").encode(), self._api_key.encode())


class ClientSession:
    """One foreign robot's session with the policy, opened at its first observation. For one thread at a time."""

    def __init__(self, adapter: ProtocolAdapter) -> None:
        self._key_map = adapter.key_map
        client = b"session " + secrets.token_bytes(8)  # with turns of its own
        self._call = partial(adapter.server.call_local, budget=adapter.timeout, client=client)
        hello = self._call("hello", {"contract": None})
        self._contract_payload = require(hello, "contract", dict)
        self.contract: Contract = contract_from_payload(self._contract_payload)
        self.facts: Mapping[str, Any] = hello["facts"]
        self._session: str | None = None
        self._instruction = ""

    def step(self, theirs: Mapping[str, Any]) -> tuple[NDArray[np.float32], dict[str, float]]:
        """Actions (H, A) for what their robot observes, and where the time went; another instruction starts anew."""
        observation, instruction = self._key_map.read(theirs, self.contract)
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
            self._call("close", {}, session=session)

    def _step(self, observation: dict[str, Any], instruction: str) -> dict[str, Any]:
        if self._session is None:
            opening = {"instruction": instruction, "contract": self._contract_payload}
            self._session = self._call("open", opening)["session"]
        elif instruction != self._instruction:
            self._call("reset", {"instruction": instruction}, session=self._session)
        self._instruction = instruction
        request = {"observation": observation, "forecast": False}
        return self._call("step", request, session=self._session)
