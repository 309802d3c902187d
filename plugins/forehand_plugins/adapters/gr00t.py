"""Protocol adapter for GR00T's clients: msgpack over ZeroMQ REQ/REP, N1.5 and N1.6 or later."""

from __future__ import annotations

import io
import logging
import math
import socket
import threading
import time
from collections import deque
from collections.abc import Buffer
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, ClassVar

import msgpack
import numpy as np
import zmq

from forehand.errors import AddressUnavailable, Busy, ForehandError, ProtocolError
from forehand.utils.addresses import use_ipv6
from forehand.wire.adapters.adapter import ClientSession, ProtocolAdapter
from forehand.wire.descriptors import room_for
from forehand.wire.liveness import SERVER_KEEPALIVE, listen, watch_peer
from forehand_plugins.adapters.gr00t_layouts import Rows, modalities, rows_of

log = logging.getLogger(__name__)

MAX_MESSAGE = 64 * 2**20
MAX_CLIENTS = 256
MAX_CONNECTIONS = 2 * MAX_CLIENTS
MAX_PENDING = 8 * MAX_MESSAGE
"""Bytes of all requests that wait for their answers."""

MAX_ERROR = 4096
QUEUE = 4
"""Messages that wait in the socket for each client, in each direction; a REQ socket has no more than one."""

MAX_ROWS = 64
TICK = 0.2
"""Seconds between checks for silent clients."""

HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}

UNAUTHORIZED = {"error": "Unauthorized: Invalid API token"}


@dataclass
class _Client:
    """One socket of theirs, and a session for each row of the batches it sends."""

    sessions: list[ClientSession] = field(default_factory=list)
    last_active: float = field(default_factory=time.monotonic)


class Gr00tAdapter(ProtocolAdapter):
    """Each client's socket is as many sessions as its batches have rows, until it is closed or silent for ``silence`` s.

    One thread owns the socket; requests are answered by others, so that no client waits for another's answer. Each
    client has one of them at a time, and a place here once it has shown the key.
    """

    protocol: ClassVar[str] = "gr00t"
    scheme: ClassVar[str] = "tcp"
    silence = 60.0

    def open(self) -> None:
        """Listen."""
        self._socket: zmq.Socket[bytes] = zmq.Context.instance().socket(zmq.ROUTER)
        self._socket.setsockopt(zmq.LINGER, 0)
        self._socket.setsockopt(zmq.MAXMSGSIZE, MAX_MESSAGE)
        self._socket.setsockopt(zmq.SNDHWM, QUEUE)
        self._socket.setsockopt(zmq.RCVHWM, QUEUE)
        use_ipv6(self._socket, self.address)
        watch_peer(self._socket, SERVER_KEEPALIVE)
        try:
            self._peers = listen(self._socket, self.address, room_for(MAX_CONNECTIONS, "adapters.gr00t"))
        except zmq.ZMQError as error:
            self._socket.close()
            raise AddressUnavailable(
                f"adapters.gr00t cannot listen at {self.host}:{self.port}: {error}. Choose another adapters.gr00t.port."
            ) from error
        self.port = int(self._socket.getsockopt_string(zmq.LAST_ENDPOINT).rpartition(":")[2])
        self._clients: dict[bytes, _Client] = {}
        self._admission = threading.Lock()
        self._pending: dict[bytes, int] = {}  # bytes of the request that is being answered; for the adapter's thread
        self._departed: set[bytes] = set()
        self._outbox: deque[tuple[bytes, bytes]] = deque()
        self._wake_reader, self._wake_writer = socket.socketpair()
        self._pool = ThreadPoolExecutor(32, "gr00t adapter")
        self._rows = ThreadPoolExecutor(MAX_ROWS, "gr00t rows")
        self._closing = False
        self._thread = threading.Thread(target=self._attend, name="gr00t adapter", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop listening; answers that are under way are dropped."""
        self._closing = True
        self._wake_writer.send(b"\0")
        self._thread.join()
        for pool in (self._pool, self._rows):
            pool.shutdown(wait=False, cancel_futures=True)

    def _attend(self) -> None:
        poller = zmq.Poller()
        poller.register(self._socket, zmq.POLLIN)
        poller.register(self._peers.monitor, zmq.POLLIN)
        poller.register(self._wake_reader, zmq.POLLIN)
        while not self._closing:
            ready = dict(poller.poll(int(TICK * 1000)))
            if self._wake_reader.fileno() in ready:
                self._wake_reader.recv(4096)
            while self._outbox:
                identity, reply = self._outbox.popleft()
                del self._pending[identity]
                self._send(identity, reply)
            if self._socket in ready:
                sender, *frames = self._socket.recv_multipart(copy=False)
                self._peers.heard(sender.bytes, sender)
                self._receive(sender.bytes, frames)
            self._forget_clients()
        self._peers.close()
        self._socket.close(linger=0)

    def _receive(self, identity: bytes, frames: list[zmq.Frame]) -> None:
        if len(frames) != 2 or len(frames[0].buffer):
            return  # no REQ socket sends this, and none waits for an answer
        size = frames[1].buffer.nbytes
        # Clients that have not shown the key leave half of it to those who have.
        room = MAX_PENDING if identity in self._clients else MAX_PENDING // 2
        if identity in self._pending:
            self._send(identity, _failed(Busy("This client's last request is not answered yet; wait for the answer.")))
        elif sum(self._pending.values()) + size > room:
            self._send(identity, _failed(Busy("Requests of too many bytes wait for their answers here; ask again.")))
        else:
            self._pending[identity] = size
            self._pool.submit(self._reply, identity, frames[1])

    def _send(self, identity: bytes, reply: bytes) -> None:
        """Only in the thread that owns the socket. A ROUTER drops messages to disconnected clients."""
        self._socket.send_multipart([identity, b"", reply])

    def _reply(self, identity: bytes, request: zmq.Frame) -> None:
        """Exactly one reply to each request, whatever happens: their sockets wait for it without end."""
        try:
            reply = encode(self._answer(identity, decode(request.buffer)))
        except Exception as error:
            if not isinstance(error, ForehandError):
                log.exception("the gr00t adapter failed")
            reply = _failed(error)
        self._outbox.append((identity, reply))
        with suppress(OSError):
            self._wake_writer.send(b"\0")

    def _answer(self, identity: bytes, request: dict[str, Any]) -> Any:
        token = request.get("api_token")
        if not self.authenticate(token if isinstance(token, str) else None):
            return UNAUTHORIZED
        endpoint, data = request.get("endpoint", "get_action"), request.get("data") or {}
        if endpoint == "ping":
            return {"status": "ok", "message": "Server is running"}
        if endpoint == "get_action":
            rows = rows_of(data, self.key_map.instruction)
            client = self._admit(identity)
            try:
                return self._act(client, rows)
            finally:
                client.last_active = time.monotonic()
        if endpoint == "reset":
            for session in self._clients[identity].sessions if identity in self._clients else ():
                session.reset()
            return {}
        if endpoint == "get_modality_config":
            return modalities(self.key_map, ClientSession(self).contract)
        if endpoint == "kill":
            raise ProtocolError("This server serves others too, and is not stopped by a client.")
        known = "ping, get_action, reset, get_modality_config"
        raise ProtocolError(f"There is no endpoint {endpoint!r} here; there are {known}.")

    def _act(self, client: _Client, asked: Rows) -> Any:
        if not 1 <= len(asked.rows) <= MAX_ROWS:
            raise ProtocolError(f"A batch has 1 to {MAX_ROWS} rows here, and this one has {len(asked.rows)}.")
        while len(client.sessions) < len(asked.rows):
            client.sessions.append(ClientSession(self))
        # All rows are asked for at once, so that they are computed in one batch.
        steps = [self._rows.submit(g.step, row) for g, row in zip(client.sessions, asked.rows, strict=False)]
        wait(steps)
        contract = client.sessions[0].contract
        parts = [self.key_map.split(step.result()[0], contract) for step in steps]
        return asked.answer({key: np.stack([part[key] for part in parts]) for key in parts[0]})

    def _admit(self, identity: bytes) -> _Client:
        """The client, which takes the place of the one that was silent for longest if all are taken."""
        with self._admission:
            if identity in self._clients:
                return self._clients[identity]
            if len(self._clients) >= MAX_CLIENTS:
                idle = (other for other in self._clients if other not in self._pending)
                longest = min(idle, key=lambda other: self._clients[other].last_active, default=None)
                if longest is None:
                    raise Busy(f"{MAX_CLIENTS} clients wait for their answers here; come later.")
                self._forget(longest)
            return self._clients.setdefault(identity, _Client())

    def _forget_clients(self) -> None:
        """Give back the sessions of those that are gone or silent, and wait for no answer."""
        now = time.monotonic()
        self._departed.update(self._peers.left())
        with self._admission:
            for identity, client in list(self._clients.items()):
                if identity not in self._pending and (
                    identity in self._departed or now - client.last_active > self.silence
                ):
                    self._forget(identity)
        self._departed &= self._pending.keys()

    def _forget(self, identity: bytes) -> None:
        for session in self._clients.pop(identity).sessions:
            self._pool.submit(session.close)


def encode(value: Any) -> bytes:
    """``value`` with its arrays as GR00T's clients expect them."""
    packed: bytes = msgpack.packb(value, default=_pack)
    return packed


def _failed(error: Exception) -> bytes:
    return encode({"error": f"{type(error).__name__}: {error}"[:MAX_ERROR]})


def decode(message: Buffer) -> dict[str, Any]:
    """The map in ``message``; raises :class:`ProtocolError`."""
    try:
        value = msgpack.unpackb(message, object_hook=_unpack)
    except Exception as error:  # broken bytes, and arrays that are none
        raise ProtocolError(f"This is no request: {type(error).__name__}: {error}.") from error
    if not isinstance(value, dict):
        raise ProtocolError(f"A request is a map, and this is {type(value).__name__}.")
    return value


def _pack(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        written = io.BytesIO()
        np.save(written, value, allow_pickle=False)
        return {"__ndarray_class__": True, "as_npy": written.getvalue()}
    raise TypeError(f"{type(value).__name__} cannot be sent")


def _unpack(found: dict[Any, Any]) -> Any:
    if "__ndarray_class__" in found:
        return _array(found["as_npy"])
    if b"nd" in found or b"__ndarray__" in found:
        raise ValueError("arrays come here as GR00T's clients send them (as_npy), not as msgpack-numpy or openpi does")
    return found


def _array(raw: bytes) -> np.ndarray:
    """A view of what ``numpy.save`` wrote; the size is checked before numpy sees it, since shapes are not trusted."""
    file = io.BytesIO(raw)
    version = np.lib.format.read_magic(file)
    if version not in HEADERS:
        raise ValueError(f"numpy files of version {version} are not accepted")
    shape, fortran, dtype = HEADERS[version](file)
    if dtype.kind not in "biufSU" or len(raw) - file.tell() != math.prod(shape) * dtype.itemsize:
        raise ValueError(f"{len(raw) - file.tell()} bytes are no array {shape} of {dtype}")
    return np.frombuffer(raw, dtype, offset=file.tell()).reshape(shape, order="F" if fortran else "C")
