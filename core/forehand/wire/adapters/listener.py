"""Listening TCP socket with a connection limit, which survives running out of file descriptors."""

from __future__ import annotations

import errno
import logging
import os
import socket
import time
from contextlib import suppress
from typing import Any, Self

from forehand.utils.addresses import family
from forehand.wire.descriptors import SHORTAGE

log = logging.getLogger(__name__)

RETRY = 0.1
"""Seconds between attempts to accept where none waits or no descriptors are free."""

SPARE = 4
"""Descriptors that a connection takes: its socket, a pair of them that ends the wait for it, and what waits."""

CLOSING = 1.0
"""Seconds that a connection which was ended may take to give back its descriptors."""

REPORT = 60.0
"""Seconds between two messages about that."""


class Listener(socket.socket):
    """Accepts at most ``most`` connections at once.

    For one more, the oldest of those that were not :meth:`welcomed` is ended; if all were, the new one is.
    """

    most: int
    _connections: dict[socket.socket, bool]
    _reported: float

    @classmethod
    def at(cls, host: str, port: int, most: int) -> Self:
        """Listen there; raises :class:`OSError`."""
        listening = cls(family(host), socket.SOCK_STREAM)
        try:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if listening.family == socket.AF_INET6 and socket.has_dualstack_ipv6():
                listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            listening.bind((host, port))
            listening.listen()
            listening.settimeout(RETRY)  # connections do not take it over
        except OSError:
            listening.close()
            raise
        listening.most = most
        listening._reported = -REPORT
        listening._connections = {}
        return listening

    def accept(self) -> tuple[socket.socket, Any]:
        """The next connection; raises :class:`OSError` only where none will ever come, since this is closed."""
        while True:
            try:
                connection, address = super().accept()
            except TimeoutError:  # the one that waited has left; check whether this is closed
                continue
            except OSError as error:
                if error.errno in SHORTAGE:
                    self._report(error)
                    time.sleep(RETRY)
                elif error.errno not in (errno.ECONNABORTED, errno.EPROTO):
                    raise
                continue
            if self._make_room() and self._has_spare(connection):
                self._connections[connection] = False
                return connection, address
            connection.close()

    def welcomed(self, connection: socket.socket) -> None:
        """Note that the client of ``connection`` has shown the key."""
        if connection in self._connections:
            self._connections[connection] = True

    def _has_spare(self, connection: socket.socket) -> bool:
        """Whether there are descriptors for what serving ``connection`` takes, now or soon."""
        end = time.monotonic() + CLOSING
        while (error := _shortage(connection)) and time.monotonic() < end:
            self._report(error)
            time.sleep(RETRY)
        return error is None

    def _make_room(self) -> bool:
        self._connections = {c: welcome for c, welcome in self._connections.items() if c.fileno() != -1}
        if len(self._connections) < self.most:
            return True
        unknown = next((c for c, welcome in self._connections.items() if not welcome), None)
        if unknown is None:
            return False
        del self._connections[unknown]
        with suppress(OSError):
            unknown.shutdown(socket.SHUT_RDWR)  # the thread that reads it closes it
        end = time.monotonic() + CLOSING
        while unknown.fileno() != -1 and time.monotonic() < end:
            time.sleep(0.002)
        return True

    def _report(self, error: OSError) -> None:
        now = time.monotonic()
        if now - self._reported > REPORT:
            self._reported = now
            log.error("no connection can be accepted (%s); others are served, and it is tried again", error)


def _shortage(connection: socket.socket) -> OSError | None:
    """What keeps the process from opening ``SPARE`` descriptors more."""
    spare = []
    try:
        for _ in range(SPARE):
            spare.append(os.dup(connection.fileno()))
    except OSError as error:
        return error
    finally:
        for descriptor in spare:
            os.close(descriptor)
    return None
