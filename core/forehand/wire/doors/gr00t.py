"""The door for GR00T's clients: msgpack maps over ZeroMQ's REQ and REP, in the dialects of N1.5 and of N1.6 and later."""

from __future__ import annotations

import io
import logging
import math
import socket
import threading
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, ClassVar

import msgpack
import numpy as np
import zmq

from forehand.errors import ForehandError
from forehand.wire.doors.door import Door, Guest
from forehand.wire.doors.gr00t_dialects import Rows, modalities, rows_of
from forehand.wire.errors import AddressUnavailable, Busy, ProtocolError
from forehand.wire.liveness import ENDPOINT_SILENCE, listen, watch_peer

log = logging.getLogger(__name__)

MAX_MESSAGE = 64 * 2**20
MAX_GUESTS = 256
MAX_ROWS = 64
TICK = 0.2
"""Seconds between looks at the clock while nobody asks."""

HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}

UNAUTHORIZED = {"error": "Unauthorized: Invalid API token"}


@dataclass
class _Client:
    """One socket of theirs, and a session for each row of the batches it sends."""

    guests: list[Guest] = field(default_factory=list)
    heard: float = field(default_factory=time.monotonic)
    lock: threading.Lock = field(default_factory=threading.Lock)


class Gr00tDoor(Door):
    """Each client's socket is as many sessions as its batches have rows; it is forgotten after ``silence`` seconds.

    One thread owns the socket; requests are answered by others, so that nobody waits for somebody else's answer.
    """

    protocol: ClassVar[str] = "gr00t"
    scheme: ClassVar[str] = "tcp"
    silence = 600.0

    def open(self) -> None:
        """Listen."""
        self._socket: zmq.Socket[bytes] = zmq.Context.instance().socket(zmq.ROUTER)
        self._socket.setsockopt(zmq.LINGER, 0)
        self._socket.setsockopt(zmq.MAXMSGSIZE, MAX_MESSAGE)
        watch_peer(self._socket, ENDPOINT_SILENCE)
        try:
            listen(self._socket, self.address)
        except zmq.ZMQError as error:
            self._socket.close()
            raise AddressUnavailable(
                f"doors.gr00t cannot listen at {self.host}:{self.port}: {error}. Choose another doors.gr00t.port."
            ) from error
        self.port = int(self._socket.getsockopt_string(zmq.LAST_ENDPOINT).rpartition(":")[2])
        self._clients: dict[bytes, _Client] = {}
        self._outbox: deque[list[bytes]] = deque()
        self._wake_reader, self._wake_writer = socket.socketpair()
        self._pool = ThreadPoolExecutor(32, "gr00t door")
        self._rows = ThreadPoolExecutor(MAX_ROWS, "gr00t rows")
        self._closing = False
        self._thread = threading.Thread(target=self._attend, name="gr00t door", daemon=True)
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
        poller.register(self._wake_reader, zmq.POLLIN)
        while not self._closing:
            ready = dict(poller.poll(int(TICK * 1000)))
            if self._wake_reader.fileno() in ready:
                self._wake_reader.recv(4096)
            while self._outbox:
                self._socket.send_multipart(self._outbox.popleft())
            if self._socket in ready:
                identity, *frames = self._socket.recv_multipart()
                self._receive(identity, frames)
            self._forget_silent_clients()
        self._socket.close(linger=0)

    def _receive(self, identity: bytes, frames: list[bytes]) -> None:
        if len(frames) != 2 or frames[0]:
            return  # no REQ socket sends this, and none waits for an answer
        client = self._clients.get(identity)
        if client is None and len(self._clients) < MAX_GUESTS:
            client = self._clients[identity] = _Client()
        self._pool.submit(self._reply, identity, client, frames[1])

    def _reply(self, identity: bytes, client: _Client | None, request: bytes) -> None:
        """Exactly one reply to each request, whatever happens: their sockets wait for it without end."""
        try:
            if client is None:
                raise Busy(f"{MAX_GUESTS} clients are here already; come later.")
            with client.lock:
                client.heard = time.monotonic()
                reply = encode(self._answer(client, decode(request)))
                client.heard = time.monotonic()
        except Exception as error:
            if not isinstance(error, ForehandError):
                log.exception("the gr00t door failed")
            reply = encode({"error": f"{type(error).__name__}: {error}"})
        self._outbox.append([identity, b"", reply])
        with suppress(OSError):
            self._wake_writer.send(b"\0")

    def _answer(self, client: _Client, request: dict[str, Any]) -> Any:
        token = request.get("api_token")
        if not self.admits(token if isinstance(token, str) else None):
            return UNAUTHORIZED
        endpoint, data = request.get("endpoint", "get_action"), request.get("data") or {}
        if endpoint == "ping":
            return {"status": "ok", "message": "Server is running"}
        if endpoint == "get_action":
            return self._act(client, rows_of(data, self.keys.instruction))
        if endpoint == "reset":
            for guest in client.guests:
                guest.reset()
            return {}
        if endpoint == "get_modality_config":
            return modalities(self.keys, (client.guests[0] if client.guests else Guest(self)).contract)
        if endpoint == "kill":
            raise ProtocolError("This server serves others too, and is not stopped by a client.")
        known = "ping, get_action, reset, get_modality_config"
        raise ProtocolError(f"There is no endpoint {endpoint!r} here; there are {known}.")

    def _act(self, client: _Client, asked: Rows) -> Any:
        if not 1 <= len(asked.rows) <= MAX_ROWS:
            raise ProtocolError(f"A batch has 1 to {MAX_ROWS} rows here, and this one has {len(asked.rows)}.")
        while len(client.guests) < len(asked.rows):
            client.guests.append(Guest(self))
        # All rows are asked for at once, so that they are computed in one batch.
        steps = [self._rows.submit(g.step, row) for g, row in zip(client.guests, asked.rows, strict=False)]
        wait(steps)
        contract = client.guests[0].contract
        parts = [self.keys.split(step.result()[0], contract) for step in steps]
        return asked.answer({key: np.stack([part[key] for part in parts]) for key in parts[0]})

    def _forget_silent_clients(self) -> None:
        now = time.monotonic()
        for identity, client in list(self._clients.items()):
            if now - client.heard > self.silence and not client.lock.locked():
                del self._clients[identity]
                for guest in client.guests:
                    self._pool.submit(guest.close)


def encode(value: Any) -> bytes:
    """``value`` with its arrays as GR00T's clients expect them."""
    packed: bytes = msgpack.packb(value, default=_pack)
    return packed


def decode(message: bytes) -> dict[str, Any]:
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
    return _array(found["as_npy"]) if "__ndarray_class__" in found else found


def _array(raw: bytes) -> np.ndarray:
    """A view of what ``numpy.save`` wrote; the size is checked before numpy sees it, for a shape is a stranger's word."""
    file = io.BytesIO(raw)
    version = np.lib.format.read_magic(file)
    if version not in HEADERS:
        raise ValueError(f"numpy files of version {version} are not accepted")
    shape, fortran, dtype = HEADERS[version](file)
    if dtype.kind not in "biufSU" or len(raw) - file.tell() != math.prod(shape) * dtype.itemsize:
        raise ValueError(f"{len(raw) - file.tell()} bytes are no array {shape} of {dtype}")
    return np.frombuffer(raw, dtype, offset=file.tell()).reshape(shape, order="F" if fortran else "C")
