"""Client socket with a monitor that reports disconnection and refusal at once."""

from __future__ import annotations

import math
import time

import zmq
from zmq.utils.monitor import recv_monitor_message

from forehand.errors import AccessDenied, AddressUnavailable
from forehand.utils.addresses import use_ipv6
from forehand.wire.access import ClientAuth
from forehand.wire.liveness import watch_peer
from forehand.wire.messages import MAX_FRAME, MAX_FRAMES
from forehand.wire.sockets import end_monitor_with, readable, receive, send

_BROKEN_OFF = zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
_EVENTS = zmq.EVENT_DISCONNECTED | zmq.EVENT_HANDSHAKE_FAILED_AUTH | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL | _BROKEN_OFF

PATIENCE = 2
"""Handshakes that end without a reason: the first can be because the other end dies, the second is its answer."""


class LinkLost(Exception):
    """The connection has ended; the link is of no more use."""


class Link:
    """A DEALER socket that lives as long as one connection, so that nothing is ever delivered to a later one."""

    def __init__(self, address: str) -> None:
        """Begin to connect, in the background; raises :class:`AddressUnavailable` for what is no address."""
        self._address = address
        self._credentials = ClientAuth.for_address(address)
        self._socket: zmq.Socket[bytes] = zmq.Context.instance().socket(zmq.DEALER)
        self._socket.setsockopt(zmq.LINGER, 0)
        self._socket.setsockopt(zmq.IMMEDIATE, 1)  # queue nothing while it is not connected
        self._socket.setsockopt(zmq.MAXMSGSIZE, MAX_FRAME)
        use_ipv6(self._socket, address)
        watch_peer(self._socket)
        self._credentials.apply(self._socket)
        self._monitor: zmq.Socket[bytes] = self._socket.get_monitor_socket(_EVENTS)
        self._end_monitor = end_monitor_with(self, self._socket, self._monitor)
        self._poller = zmq.Poller()
        self._poller.register(self._socket, zmq.POLLIN)
        self._poller.register(self._monitor, zmq.POLLIN)
        try:
            self._socket.connect(address)
        except zmq.ZMQError as error:
            self.close()
            raise AddressUnavailable(
                f"{address} cannot be connected to: {error}. Write it as tcp://HOST:PORT, "
                f"for example tcp://127.0.0.1:5555."
            ) from error

    def wait_connected(self, timeout: float) -> bool:
        """Whether the other end lets this one in within ``timeout`` seconds; raises :class:`AccessDenied`."""
        deadline = time.monotonic() + timeout
        either = zmq.Poller()
        either.register(self._socket, zmq.POLLOUT)
        either.register(self._monitor, zmq.POLLIN)
        broken_off = 0
        while ready := dict(either.poll(_milliseconds(deadline - time.monotonic()))):
            if self._monitor not in ready:
                return True
            event = recv_monitor_message(self._monitor)["event"]  # of an attempt that failed, so another one follows
            broken_off += event == _BROKEN_OFF
            if event in (zmq.EVENT_HANDSHAKE_FAILED_AUTH, zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL) or broken_off == PATIENCE:
                raise AccessDenied(self._why_denied(event))
        return False

    def lost(self) -> bool:
        """Whether the connection has ended since the link was made."""
        return readable(self._monitor)

    def send(self, frames: list[bytes | memoryview]) -> None:
        """Hand ``frames`` over without a copy; raises :class:`LinkLost`."""
        try:
            send(self._socket, frames)
        except zmq.Again as error:
            raise LinkLost from error

    def receive(self, timeout: float) -> list[memoryview] | None:
        """The next message, or None when ``timeout`` seconds have passed; raises :class:`LinkLost`."""
        ready = dict(self._poller.poll(_milliseconds(timeout)))
        if self._socket in ready:
            return [frame.buffer for frame in receive(self._socket, MAX_FRAMES + 1)]
        if self._monitor in ready:
            raise LinkLost
        return None

    def close(self) -> None:
        """Drop what is unsent, and let go."""
        self._end_monitor()
        self._socket.close(linger=0)

    def _why_denied(self, event: int) -> str:
        if event == zmq.EVENT_HANDSHAKE_FAILED_AUTH:
            return (
                f"{self._address} does not let this computer in: its key is not allowed there. Print it here (forehand "
                f"keys), and allow it there: forehand keys allow=NAME key=…"
            )
        if self._credentials.encrypted:
            return (
                f"What answers at {self._address} does not own the key that is known here for it, or does not encrypt. "
                f"Compare forehand keys on both computers; nothing was sent."
            )
        return (
            f"{self._address} requires keys, or is no Forehand endpoint. Let forehand keys print its key there, and say "
            f"here: forehand keys trust=HOST key=…"
        )


def _milliseconds(seconds: float) -> int:
    return max(0, math.ceil(seconds * 1000))
