"""Connected peers of a ROUTER socket, from its monitor."""

from __future__ import annotations

import logging
import socket as sockets
import time
import uuid
from contextlib import suppress

import zmq
from zmq.utils.monitor import parse_monitor_message

from forehand.wire.sockets import end_monitor_with, readable

log = logging.getLogger(__name__)

REPORT = 60.0
"""Seconds between two messages about connections that are too many."""


# Failures to accept are left out: without descriptors ZeroMQ tries again at once, and reports it each time.
EVENTS = zmq.EVENT_LISTENING | zmq.EVENT_ACCEPTED | zmq.EVENT_DISCONNECTED


class Peers:
    """The connections of ``bound``, which is to be bound after this is made; for the thread that owns the socket.

    ``monitor`` is readable when :meth:`left` has something to do.

    Of more than ``most`` connections, those that have sent no message yet are ended first, the oldest of them first.
    """

    def __init__(self, bound: zmq.Socket[bytes], most: int) -> None:
        self.most = most
        self._bound = bound
        self._identities: dict[int, bytes | None] = {}  # by descriptor, in the order in which they came
        self._left: list[bytes] = []
        self._reported = -REPORT
        address = f"inproc://peers-{uuid.uuid4().hex}"
        bound.monitor(address, EVENTS)
        self.monitor: zmq.Socket[bytes] = bound.context.socket(zmq.PAIR)
        self.monitor.setsockopt(zmq.RCVHWM, 0)  # else a full queue would hold up the thread that moves all messages
        self.monitor.connect(address)
        self._end_monitor = end_monitor_with(self, bound, self.monitor)

    def __len__(self) -> int:
        return len(self._identities)

    def listening(self) -> sockets.socket:
        """The listening TCP socket, once bound; ``detach`` it, since it is ZeroMQ's."""
        return sockets.socket(fileno=parse_monitor_message(self.monitor.recv_multipart())["value"])

    def heard(self, identity: bytes, part: zmq.Frame) -> None:
        """Note that the peer of this ``identity`` sent ``part``, which says by which connection it came."""
        try:
            descriptor = int(part.get(zmq.SRCFD))
        except zmq.ZMQError:  # a transport without connections
            return
        if self._identities.get(descriptor) == identity:
            return
        self._read()  # what happened to this descriptor before this connection had it
        if descriptor not in self._identities:  # it left behind a message
            self._left.append(identity)
            return
        if earlier := self._identities[descriptor]:
            self._left.append(earlier)
        self._identities[descriptor] = identity

    def left(self) -> list[bytes]:
        """The identities whose connections have ended since the last call."""
        self._read()
        self._report()
        while len(self._identities) > self.most:
            silent = (descriptor for descriptor, identity in self._identities.items() if identity is None)
            self._end(next(silent, next(reversed(self._identities))))
        left, self._left = self._left, []
        return left

    def close(self) -> None:
        """Stop looking; before the socket is closed."""
        self._end_monitor()

    def _read(self) -> None:
        while readable(self.monitor):
            event = parse_monitor_message(self.monitor.recv_multipart(zmq.NOBLOCK))
            descriptor = int(event["value"])
            match event["event"]:
                case zmq.EVENT_ACCEPTED:
                    self._forget(descriptor)
                    self._identities[descriptor] = None
                case zmq.EVENT_DISCONNECTED:
                    self._forget(descriptor)

    def _forget(self, descriptor: int) -> None:
        if identity := self._identities.pop(descriptor, None):
            self._left.append(identity)

    def _end(self, descriptor: int) -> None:
        """Shut a connection down, and leave closing it to ZeroMQ, unless its number is already another's."""
        self._forget(descriptor)
        with suppress(OSError):
            connection = sockets.socket(fileno=descriptor)
            try:
                port = self._bound.getsockopt_string(zmq.LAST_ENDPOINT).rpartition(":")[2]
                if str(connection.getsockname()[1]) == port:
                    connection.shutdown(sockets.SHUT_RDWR)
            finally:
                connection.detach()

    def _report(self) -> None:
        now = time.monotonic()
        if len(self._identities) > self.most and now - self._reported > REPORT:
            self._reported = now
            log.warning("more than %d connections: those that have said nothing yet are ended", self.most)
