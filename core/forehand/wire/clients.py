"""The clients of an endpoint: who they are, what each may ask, and who has gone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from forehand.wire.errors import Busy
from forehand.wire.messages import MAX_BYTES

CLIENT_TIMEOUT = 600.0
"""Seconds after which a silent client is forgotten, and has to say hello again."""

SILENCE = 2.0
"""Seconds without a word after which a client that promised heartbeats counts as gone."""


@dataclass(frozen=True)
class Limits:
    """What an endpoint grants; what goes beyond is answered ``busy``, and a larger message with ``protocol_error``.

    ``clients``: at once; of each one: ``pending``: unanswered requests; ``rate``: requests a second; ``sessions``: open
    ones, at a policy server; ``message``: bytes.
    """

    clients: int = 1024
    pending: int = 8
    rate: float = 4000.0
    sessions: int = 32
    message: int = MAX_BYTES


@dataclass
class Client:
    """One connection. Times are ``time.monotonic()``; ``key``: the public key that it came in with, None where none is
    asked for; ``heartbeat``: it promised to be heard this often, in seconds; ``jpeg``: the quality of pictures that are
    sent to it, None for arrays.
    """

    last_id: int
    last_heard: float
    key: str | None = None
    heartbeat: float | None = None
    jpeg: int | None = None
    pending: int = 0
    gone: bool = False
    _spent: float = field(default=0.0, repr=False)
    _charged: float = field(default=0.0, repr=False)

    def charge(self, now: float, limits: Limits) -> None:
        """Count one request, heard ``now``; raises :class:`Busy` beyond the limits."""
        self._spent = max(0.0, self._spent - (now - self._charged) * limits.rate) + 1
        self._charged = self.last_heard = now
        self.gone = False
        self.pending += 1
        if self.pending > limits.pending:
            raise Busy(f"This client has {limits.pending} unanswered requests; wait for the answers.")
        if self._spent > limits.rate:
            self._spent = limits.rate  # a second of silence always clears it
            raise Busy(f"This client asks more than {limits.rate:g} times a second; ask less often.")


class Clients(dict[bytes, Client]):
    """By the identity of their connection."""

    def leaving(self, now: float) -> Iterator[bytes]:
        """Those that have gone silent against their promise; they are forgotten, as are those silent for very long."""
        for identity, client in list(self.items()):
            silent = now - client.last_heard
            if client.heartbeat and not client.gone and silent > max(SILENCE, 4 * client.heartbeat):
                client.gone = True
                yield identity
            if (client.gone or silent > CLIENT_TIMEOUT) and not client.pending:
                del self[identity]

    def is_gone(self, identity: bytes) -> bool:
        """Whether nobody is there any more."""
        client = self.get(identity)
        return client is None or client.gone
