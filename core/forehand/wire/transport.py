"""Server socket of an endpoint: one thread receives, any thread sends.

A ZeroMQ socket serves one thread at a time, so a lock guards every use of it; while nothing arrives, the receiving thread
waits for file descriptors instead, without the lock. So an answer is sent by the thread that computed it.
"""

from __future__ import annotations

import selectors
import socket
import threading
from collections.abc import Sequence
from contextlib import suppress

import zmq

from forehand.wire.access import ServerAuth
from forehand.wire.bind import bind
from forehand.wire.messages import MAX_FRAMES
from forehand.wire.sockets import readable, receive, send


class Transport:
    """A ROUTER socket bound to ``address``, of at most ``connections`` at once; see :func:`~forehand.wire.bind.bind`.

    ``address``: where it really listens (``tcp://127.0.0.1:0`` takes a free port).
    """

    def __init__(self, address: str, auth: ServerAuth, connections: int) -> None:
        self._auth = auth
        self._socket, self.peers = bind(address, auth, connections)
        self.address = self._socket.getsockopt_string(zmq.LAST_ENDPOINT)
        self._lock = threading.Lock()
        self._closed = False
        self._wake_reader, self._wake_writer = socket.socketpair()
        self._wake_reader.setblocking(False)
        self._wake_writer.setblocking(False)
        self._selector = selectors.DefaultSelector()
        self._monitor = int(self.peers.monitor.getsockopt(zmq.FD))
        for readable_side in (int(self._socket.getsockopt(zmq.FD)), self._monitor, self._wake_reader):
            self._selector.register(readable_side, selectors.EVENT_READ)

    def wait(self, timeout: float) -> bool:
        """Return when a message, a change of connections or :meth:`wake` comes, or after ``timeout`` seconds.

        Only after :meth:`receive` has returned None; else ``timeout`` is to be 0. Returns whether connections changed.
        """
        ready = {key.fileobj for key, _ in self._selector.select(timeout)}
        if self._wake_reader in ready:
            self._wake_reader.recv(4096)
        return self._monitor in ready

    def receive(self) -> list[zmq.Frame] | None:
        """The parts of one message, one more at most than any may have, or None."""
        with self._lock:
            return receive(self._socket, MAX_FRAMES + 2) if readable(self._socket) else None

    def send(self, client: bytes, frames: Sequence[bytes | memoryview]) -> None:
        """Send to ``client``, from any thread; dropped where it is disconnected, and once the socket is closed."""
        with self._lock:
            if self._closed:
                return
            send(self._socket, [client, *frames])
            # Sending also processes arrivals, after which the socket's descriptor does not signal them any more.
            arrived = readable(self._socket)
        if arrived:
            self.wake()

    def wake(self) -> None:
        """End a :meth:`wait`, now or to come; from any thread and from signal handlers."""
        with suppress(OSError):  # full, so the thread is about to wake anyway; or closed, so nobody waits
            self._wake_writer.send(b"\0")

    def close(self) -> None:
        """Send what is unsent, for a second at most, and close the socket."""
        with self._lock:
            self._closed = True
            self._selector.close()
            self.peers.close()
            self._socket.close(linger=1000)
            self._auth.close()
            self._wake_reader.close()
            self._wake_writer.close()
