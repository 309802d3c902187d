"""A client's socket, and the monitor that tells at once when the other end is gone."""

from __future__ import annotations

import math

import zmq

from forehand.wire.errors import AddressUnavailable
from forehand.wire.liveness import watch_peer
from forehand.wire.messages import MAX_FRAME


class LinkLost(Exception):
    """The other end is gone; the link is of no more use."""


class Link:
    """A DEALER socket that lives as long as one connection, so that nothing is ever delivered to a later one."""

    def __init__(self, address: str) -> None:
        """Begin to connect, in the background; raises :class:`AddressUnavailable` for what is no address."""
        self._socket: zmq.Socket[bytes] = zmq.Context.instance().socket(zmq.DEALER)
        self._socket.setsockopt(zmq.LINGER, 0)
        self._socket.setsockopt(zmq.IMMEDIATE, 1)  # queue nothing while there is nobody to take it
        self._socket.setsockopt(zmq.MAXMSGSIZE, MAX_FRAME)
        watch_peer(self._socket)
        self._monitor: zmq.Socket[bytes] = self._socket.get_monitor_socket(zmq.EVENT_DISCONNECTED)
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

    def wait_writable(self, timeout: float) -> bool:
        """Whether the other end is there within ``timeout`` seconds."""
        return bool(self._socket.poll(_milliseconds(timeout), zmq.POLLOUT))

    def lost(self) -> bool:
        """Whether the other end has gone since the link was made."""
        return bool(self._monitor.poll(0))

    def send(self, frames: list[bytes | memoryview]) -> None:
        """Hand ``frames`` over without a copy; raises :class:`LinkLost`."""
        try:
            self._socket.send_multipart(frames, zmq.NOBLOCK, copy=False)
        except zmq.Again as error:
            raise LinkLost from error

    def receive(self, timeout: float) -> list[memoryview] | None:
        """The next message, or None when ``timeout`` seconds have passed; raises :class:`LinkLost`."""
        ready = dict(self._poller.poll(_milliseconds(timeout)))
        if self._socket in ready:
            return [frame.buffer for frame in self._socket.recv_multipart(copy=False)]
        if self._monitor in ready:
            raise LinkLost
        return None

    def close(self) -> None:
        """Drop what is unsent, and let go."""
        self._socket.disable_monitor()
        self._monitor.close(linger=0)
        self._socket.close(linger=0)


def _milliseconds(seconds: float) -> int:
    return max(0, math.ceil(seconds * 1000))
