"""Connected clients of an endpoint: identity, quotas, and expiry."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator
from dataclasses import dataclass, field

from forehand.errors import Busy
from forehand.utils.numbers import count, positive
from forehand.wire.messages import MAX_BYTES

CLIENT_TIMEOUT = 600.0
"""Seconds after which a silent client is forgotten, and has to say hello again."""

HEARTBEAT_TIMEOUT = 2.0
"""Seconds of silence after which a peer that sends heartbeats counts as disconnected; on both sides."""


@dataclass(frozen=True)
class ClientQuotas:
    """What an endpoint grants; what goes beyond is answered ``busy``, and a larger message with ``protocol_error``.

    ``clients``: at once; of each one: ``pending``: unanswered requests; ``rate``: requests a second; ``sessions``: open
    ones, at a policy server; ``message``: bytes.
    """

    clients: int = 1024
    pending: int = 8
    rate: float = 4000.0
    sessions: int = 32
    message: int = MAX_BYTES

    def __post_init__(self) -> None:
        positive(rate=self.rate)
        count(clients=self.clients, pending=self.pending, sessions=self.sessions, message=self.message)


@dataclass
class Client:
    """Connection of one client.

    Times are ``time.monotonic()``; ``key``: the client's public key, None where none is required; ``heartbeat``:
    the interval of the heartbeats it announced, in seconds; ``jpeg``: the quality of pictures that are
    sent to it, None for arrays; ``ended``: its connection is closed; ``disconnected``: or its
    heartbeats have stopped.
    """

    last_id: int
    last_heard: float
    key: str | None = None
    heartbeat: float | None = None
    jpeg: int | None = None
    pending: int = 0
    disconnected: bool = False
    ended: bool = False
    _spent: float = field(default=0.0, repr=False)
    _charged: float = field(default=0.0, repr=False)

    def charge(self, now: float, limits: ClientQuotas) -> None:
        """Count one request, received ``now``; raises :class:`Busy` beyond the limits."""
        self._spent = max(0.0, self._spent - (now - self._charged) * limits.rate) + 1
        self._charged = self.last_heard = now
        self.disconnected = False
        self.pending += 1
        if self.pending > limits.pending:
            raise Busy(f"This client has {limits.pending} unanswered requests; wait for the answers.")
        if self._spent > limits.rate:
            self._spent = limits.rate  # a second of silence always clears it
            raise Busy(f"This client sends more than {limits.rate:g} requests a second; send fewer.")


class Clients(dict[bytes, Client]):
    """By the identity of their connection."""

    def end(self, identities: Iterable[bytes]) -> None:
        """Note that the connections of ``identities`` have ended."""
        for identity in identities:
            if client := self.get(identity):
                client.ended = True

    def expired(self, now: float) -> Iterator[bytes]:
        """Those whose connections or heartbeats have ended since the last call.

        They are removed once they are answered, as are those silent for ``CLIENT_TIMEOUT``.
        """
        for identity, client in list(self.items()):
            silent = now - client.last_heard
            broken = client.heartbeat and silent > max(HEARTBEAT_TIMEOUT, 4 * client.heartbeat)
            if (client.ended or broken) and not client.disconnected:
                client.disconnected = True
                yield identity
            if (client.disconnected or silent > CLIENT_TIMEOUT) and not client.pending:
                del self[identity]

    def make_room(self, needed: Container[bytes]) -> bool:
        """Remove the longest silent client that waits for no answer and is not ``needed``; whether there is one.

        A removed client that is still connected says hello again.
        """
        idle = (identity for identity, client in self.items() if not client.pending and identity not in needed)
        longest = min(idle, key=lambda identity: self[identity].last_heard, default=None)
        if longest is None:
            return False
        del self[longest]
        return True

    def is_disconnected(self, identity: bytes) -> bool:
        """Whether the client is unknown or disconnected."""
        client = self.get(identity)
        return client is None or client.disconnected
