"""Access control: encryption and authorised keys, by address.

On loopback nothing is encrypted. Everywhere else CurveZMQ authenticates the endpoint by its key, and accepts the clients
whose keys are on the allow-list.
"""

from __future__ import annotations

import logging
import math
import time
from contextlib import suppress
from typing import Self

import zmq
from zmq.auth.thread import ThreadAuthenticator
from zmq.utils import z85

from forehand.errors import AccessDenied, ConfigurationError
from forehand.utils.addresses import host_and_port, is_loopback
from forehand.wire.keys import CLEAR, Keyring

log = logging.getLogger(__name__)

DOMAIN = "forehand"
RELOAD = 1.0
"""Seconds between readings of the allow-list while clients are connected."""

_zap_log = logging.getLogger(f"{__name__}.zap")
_zap_log.setLevel(logging.WARNING)  # below that it writes whole keys


def is_local(address: str) -> bool:
    """Whether ``address`` can only be reached from this computer."""
    where = host_and_port(address)
    return where is None or is_loopback(where[0])


class ServerAuth:
    """Authentication of an endpoint's clients: none on loopback, encryption and the allow-list elsewhere."""

    def __init__(self, address: str, *, insecure: bool, keyring: Keyring | None = None) -> None:
        """Raises :class:`AccessDenied` where others could connect and this computer has no keys."""
        self._keyring = keyring or Keyring()
        self._authenticator: ThreadAuthenticator | None = None
        self._secret: bytes | None = None
        self._listed: frozenset[str] = frozenset()
        self._read_at = -math.inf
        self._reported: list[str] = []
        self.context: zmq.Context[zmq.Socket[bytes]] = zmq.Context.instance()
        if is_local(address):
            return
        if insecure:
            log.warning("%s accepts everyone who can reach it, without encryption or keys", address)
            return
        self._secret = self._keyring.secret
        if self._secret is None:
            raise AccessDenied(
                f"{address} can be reached from other computers, and this one has no keys, so it serves on loopback only "
                f"(tcp://127.0.0.1:PORT). To serve others, make keys (forehand keys generate=true) and allow theirs "
                f"(forehand keys allow=NAME key=…)."
            )
        if not self._keyring.allowed:
            log.warning("no other computer is allowed to connect yet: forehand keys allow=NAME key=…")
        self.context = zmq.Context()  # an authenticator answers for a whole context

    def guard(self, bound: zmq.Socket[bytes]) -> None:
        """Prepare a socket of :attr:`context`, before it is bound."""
        if self._secret is None:
            return
        self._authenticator = ThreadAuthenticator(self.context, log=_zap_log)
        self._authenticator.start()
        self._authenticator.configure_curve_callback(DOMAIN, self)
        bound.setsockopt(zmq.CURVE_SERVER, 1)
        bound.setsockopt(zmq.CURVE_SECRETKEY, self._secret)
        bound.setsockopt_string(zmq.ZAP_DOMAIN, DOMAIN)
        bound.setsockopt(zmq.ZAP_ENFORCE_DOMAIN, 1)  # without an authenticator every connection is refused

    def callback(self, domain: str, key: bytes) -> bool:
        """Whether the owner of ``key`` (Z85) may connect; called by the authenticator, in its thread."""
        public = z85.decode(key).hex()
        try:
            allowed = self._keyring.allows(public)
        except (ConfigurationError, OSError) as error:
            log.error("no client can be authenticated: %s", error)
            return False
        self._report_unreadable()
        if not allowed:
            log.warning("refused a computer whose public key begins with %s: it is not allowed here", public[:8])
        else:
            self._listed |= {public}
        return allowed

    def key_of(self, part: zmq.Frame) -> str | None:
        """The public key of the sender of ``part``, None where none is required."""
        return None if self._secret is None else z85.decode(str(part.get("User-Id"))).hex()

    def is_allowed(self, key: str | None) -> bool:
        """Whether ``key`` is still allowed; a change of the allow-list counts within ``RELOAD`` seconds.

        A line that cannot be read allows no key, and while there is one, no connected client is disconnected.
        """
        if key is None:
            return True
        now = time.monotonic()
        if now - self._read_at > RELOAD:
            self._read_at = now
            with suppress(ConfigurationError, OSError):
                listed = frozenset(filter(None, [*self._keyring.allowed.values(), self._keyring.public]))
                self._listed = self._listed | listed if self._report_unreadable() else listed
        return key in self._listed

    def _report_unreadable(self) -> bool:
        """Whether lines of the allow-list cannot be read; each is logged once."""
        problems = self._keyring.unreadable("allowed")
        for problem in problems:
            if problem not in self._reported:
                log.error("a line of the allow-list is ignored: %s", problem)
        self._reported = problems
        return bool(problems)

    def close(self) -> None:
        """After the socket is closed."""
        if self._authenticator:
            self._authenticator.stop()
            self._authenticator = None
            self.context.term()


class ClientAuth:
    """Keys with which a client connects to an address: none on loopback, unless a key is known for it."""

    def __init__(self, server: bytes | None, secret: bytes | None) -> None:
        self._server, self._secret = server, secret

    @classmethod
    def for_address(cls, address: str, keyring: Keyring | None = None) -> Self:
        """Raises :class:`AccessDenied` where nothing would be encrypted, or this computer has no keys."""
        keyring = keyring or Keyring()
        where = host_and_port(address)
        server = keyring.key_of(*where) if where else None
        host = where[0] if where else "HOST"
        if server == CLEAR or (server is None and is_local(address)):
            return cls(None, None)
        if server is None:
            raise AccessDenied(
                f"Nothing is sent to {address}, since the key of {host} is not known here. Let forehand keys print it "
                f"there, then: forehand keys trust={host} key=…"
            )
        secret = keyring.secret
        if secret is None:
            raise AccessDenied(
                f"{address} requires keys, and this computer has none. Make them (forehand keys generate=true), and "
                f"allow them there (forehand keys allow=NAME key=…)."
            )
        return cls(bytes.fromhex(server), secret)

    @property
    def encrypted(self) -> bool:
        """Whether the connection is encrypted."""
        return self._server is not None

    def apply(self, connecting: zmq.Socket[bytes]) -> None:
        """Prepare a socket, before it is connected."""
        if self._server is None or self._secret is None:
            return
        connecting.setsockopt(zmq.CURVE_SERVERKEY, self._server)
        connecting.setsockopt(zmq.CURVE_SECRETKEY, self._secret)
        connecting.setsockopt(zmq.CURVE_PUBLICKEY, z85.decode(zmq.curve_public(z85.encode(self._secret))))
