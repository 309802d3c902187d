"""Who may speak with whom, and whether in the clear: decided by an address and this computer's keys.

On loopback nothing is encrypted. Everything else is CurveZMQ: the endpoint proves its key to the client, and lets in
whom its allow-list names.
"""

from __future__ import annotations

import ipaddress
import logging
import math
import re
import time
from contextlib import suppress
from typing import Self

import zmq
from zmq.auth.thread import ThreadAuthenticator
from zmq.utils import z85

from forehand.errors import ConfigurationError
from forehand.wire.errors import AccessDenied, AddressUnavailable
from forehand.wire.keys import CLEAR, Keyring

log = logging.getLogger(__name__)

DOMAIN = "forehand"
RELOAD = 1.0
"""Seconds between looks at the allow-list for those who are in."""

_zap_log = logging.getLogger(f"{__name__}.zap")
_zap_log.setLevel(logging.WARNING)  # below that it writes whole keys
_TCP = re.compile(r"tcp://(?:.*;)?\[?([^\]]*)\]?:([^:]+)")


def is_local(address: str) -> bool:
    """Whether ``address`` can only be reached from this computer."""
    where = _host_and_port(address)
    if where is None:
        return True
    try:
        return ipaddress.ip_address(where[0]).is_loopback
    except ValueError:
        return where[0] == "localhost"


class Gate:
    """What an endpoint's socket stands behind: nothing on loopback, encryption and the allow-list elsewhere."""

    def __init__(self, address: str, *, insecure: bool, keyring: Keyring | None = None) -> None:
        """Raises :class:`AccessDenied` where others could connect and this computer has no keys to tell them apart."""
        self._keyring = keyring or Keyring()
        self._authenticator: ThreadAuthenticator | None = None
        self._secret: bytes | None = None
        self._listed: frozenset[str] = frozenset()
        self._read_at = -math.inf
        self.context: zmq.Context[zmq.Socket[bytes]] = zmq.Context.instance()
        if is_local(address):
            return
        if insecure:
            log.warning("%s is open to everyone who can reach it: neither encrypted nor asking for keys", address)
            return
        self._secret = self._keyring.secret
        if self._secret is None:
            raise AccessDenied(
                f"{address} can be reached from other computers, and this one has no keys, so it serves on loopback only "
                f"(tcp://127.0.0.1:PORT). To serve others, make keys (forehand keys make=true) and allow theirs "
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
        bound.setsockopt(zmq.ZAP_ENFORCE_DOMAIN, 1)  # without an authenticator nobody comes in, rather than everybody

    def callback(self, domain: str, key: bytes) -> bool:
        """Whether the owner of ``key`` (Z85) may come in; asked by the authenticator, in its thread."""
        public = z85.decode(key).hex()
        try:
            allowed = self._keyring.allows(public)
        except (ConfigurationError, OSError) as error:
            log.error("nobody can be let in: %s", error)
            return False
        if not allowed:
            log.warning("refused a computer whose public key begins with %s: it is not allowed here", public[:8])
        else:
            self._listed |= {public}
        return allowed

    def key_of(self, part: zmq.Frame) -> str | None:
        """The public key of who sent ``part``, None where nobody is asked for one."""
        return None if self._secret is None else z85.decode(str(part.get("User-Id"))).hex()

    def still_allows(self, key: str | None) -> bool:
        """Whether who came in with ``key`` may stay; a change of the allow-list counts within ``RELOAD`` seconds.

        A list that cannot be read lets nobody in, and nobody who is in is sent away for it.
        """
        if key is None:
            return True
        now = time.monotonic()
        if now - self._read_at > RELOAD:
            self._read_at = now
            with suppress(ConfigurationError, OSError):
                self._listed = frozenset(filter(None, [*self._keyring.allowed.values(), self._keyring.public]))
        return key in self._listed

    def close(self) -> None:
        """After the socket is closed."""
        if self._authenticator:
            self._authenticator.stop()
            self._authenticator = None
            self.context.term()


class Credentials:
    """With which keys a client connects to an address: none on loopback, unless the host there is known by a key."""

    def __init__(self, server: bytes | None, secret: bytes | None) -> None:
        self._server, self._secret = server, secret

    @classmethod
    def for_address(cls, address: str, keyring: Keyring | None = None) -> Self:
        """Raises :class:`AccessDenied` where this side would have to speak in the clear, or lacks keys of its own."""
        keyring = keyring or Keyring()
        where = _host_and_port(address)
        server = keyring.key_of(*where) if where else None
        host = where[0] if where else "HOST"
        if server == CLEAR or (server is None and is_local(address)):
            return cls(None, None)
        if server is None:
            raise AccessDenied(
                f"Nothing is sent to {address}, since the key of {host} is not known here. Let forehand keys print it "
                f"there, then: forehand keys know={host} key=…"
            )
        secret = keyring.secret
        if secret is None:
            raise AccessDenied(
                f"{address} asks for keys, and this computer has none. Make them (forehand keys make=true), and allow "
                f"them there (forehand keys allow=NAME key=…)."
            )
        return cls(bytes.fromhex(server), secret)

    @property
    def encrypted(self) -> bool:
        """Whether there are any."""
        return self._server is not None

    def apply(self, connecting: zmq.Socket[bytes]) -> None:
        """Prepare a socket, before it is connected."""
        if self._server is None or self._secret is None:
            return
        connecting.setsockopt(zmq.CURVE_SERVERKEY, self._server)
        connecting.setsockopt(zmq.CURVE_SECRETKEY, self._secret)
        connecting.setsockopt(zmq.CURVE_PUBLICKEY, z85.decode(zmq.curve_public(z85.encode(self._secret))))


def _host_and_port(address: str) -> tuple[str, str] | None:
    """``tcp://HOST:PORT`` taken apart, or None for another transport, which never leaves this computer."""
    if not address.startswith("tcp://"):
        return None
    found = _TCP.fullmatch(address)
    if found is None:
        raise AddressUnavailable(f"{address} is no address. Write it as tcp://HOST:PORT.")
    return found[1], found[2]
