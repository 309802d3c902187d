"""Protocol adapter for openpi's clients: msgpack over a websocket."""

from __future__ import annotations

import http
import logging
import math
import threading
import time
from contextlib import suppress
from typing import Any, ClassVar

import msgpack
import numpy as np
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response
from websockets.sync.server import Server, ServerConnection, serve

from forehand.errors import AddressUnavailable, ForehandError, ProtocolError
from forehand.wire.adapters.adapter import ClientSession, ProtocolAdapter
from forehand.wire.adapters.listener import SPARE, Listener
from forehand.wire.descriptors import room_for

log = logging.getLogger(__name__)

MAX_MESSAGE = 64 * 2**20
MAX_CLIENTS = 256
MAX_CONNECTIONS = MAX_CLIENTS + 64
"""Those that have not shown the key yet included."""

MAX_ERROR = 4096
QUEUE = 1
"""Messages that wait for each client: they send one request at a time."""

OPENING = 5.0
"""Seconds in which a client has to show the key."""

HEADER = "Api-Key "


class OpenPiAdapter(ProtocolAdapter):
    """Each connection is a session and has a thread of its own, which waits for the policy without keeping others."""

    protocol: ClassVar[str] = "openpi"
    scheme: ClassVar[str] = "ws"

    def open(self) -> None:
        """Listen."""
        try:
            self._listener = Listener.at(self.host, self.port, room_for(MAX_CONNECTIONS, "adapters.openpi", each=SPARE))
        except OSError as error:
            raise AddressUnavailable(
                f"adapters.openpi cannot listen at {self.host}:{self.port}: {error}. Choose another adapters.openpi.port."
            ) from error
        self._server: Server = serve(
            self._attend,
            sock=self._listener,
            compression=None,
            max_size=MAX_MESSAGE,
            max_queue=QUEUE,
            open_timeout=OPENING,
            process_request=self._before,
        )
        self.port = self._listener.getsockname()[1]
        self._connections: set[ServerConnection] = set()
        self._thread = threading.Thread(target=self._server.serve_forever, name="openpi adapter", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Close every connection with the code for "going away"."""
        self._server.shutdown()
        for connection in list(self._connections):
            threading.Thread(target=connection.close, args=(1001, "the server is stopping"), daemon=True).start()
        self._thread.join()

    def _before(self, connection: ServerConnection, request: Request) -> Response | None:
        if request.path == "/healthz":
            return connection.respond(http.HTTPStatus.OK, "OK\n")
        shown = request.headers.get("Authorization", "")
        if not self.authenticate(shown.removeprefix(HEADER) if shown.startswith(HEADER) else None):
            return connection.respond(http.HTTPStatus.UNAUTHORIZED, "This server requires an API key.\n")
        if len(self._connections) >= MAX_CLIENTS:
            return connection.respond(
                http.HTTPStatus.SERVICE_UNAVAILABLE, f"{MAX_CLIENTS} clients are connected already.\n"
            )
        self._listener.welcomed(connection.socket)
        return None

    def _attend(self, connection: ServerConnection) -> None:
        self._connections.add(connection)
        session: ClientSession | None = None
        try:
            session = ClientSession(self)
            connection.send(encode({"policy": dict(session.facts), "contract": session.contract.to_dict()}))
            spent: dict[str, float] = {}
            for message in connection:
                spent = self._answer(connection, session, message, spent)
        except ConnectionClosed:
            pass
        except Exception as error:
            if not isinstance(error, ForehandError):
                log.exception("the openpi adapter failed")
            # Their clients take a text frame for the server's traceback, and raise it.
            with suppress(ConnectionClosed):
                connection.send(f"{type(error).__name__}: {error}"[:MAX_ERROR])
                connection.close(1011, "see the message before")
        finally:
            self._connections.discard(connection)
            if session is not None:
                with suppress(ForehandError):
                    session.close()

    def _answer(
        self, connection: ServerConnection, session: ClientSession, message: str | bytes, spent: dict[str, float]
    ) -> dict[str, float]:
        """Answer one request; returns how long it took, which the next answer states."""
        started = time.monotonic()
        theirs = decode(message)
        actions, timing = session.step(theirs)
        infer = (time.monotonic() - started) * 1000
        state = [np.ravel(theirs[key]) for key in self.key_map.state]
        answer = {
            "actions": actions,
            "state": np.concatenate(state) if state else np.empty(0, np.float32),
            "policy_timing": {"infer_ms": timing["computed"] * 1000},
            "server_timing": {"infer_ms": infer, **spent},
        }
        connection.send(encode(answer))
        return {"prev_total_ms": (time.monotonic() - started) * 1000}


def encode(value: Any) -> bytes:
    """``value`` with its arrays as openpi's clients expect them."""
    packed: bytes = msgpack.packb(value, default=_pack)
    return packed


def decode(message: str | bytes) -> dict[str, Any]:
    """The map in ``message``, arrays as views of it; raises :class:`ProtocolError`."""
    if isinstance(message, str):
        raise ProtocolError("An observation is a binary frame, and this was text.")
    try:
        value = msgpack.unpackb(message, object_hook=_unpack)
    except Exception as error:  # broken bytes, and arrays that are none
        raise ProtocolError(f"This is no observation: {type(error).__name__}: {error}.") from error
    if not isinstance(value, dict):
        raise ProtocolError(f"An observation is a map, and this is {type(value).__name__}.")
    return value


def _pack(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        value = np.ascontiguousarray(value)
        return {b"__ndarray__": True, b"data": value.tobytes(), b"dtype": value.dtype.str, b"shape": value.shape}
    if isinstance(value, np.generic):
        return {b"__npgeneric__": True, b"data": value.item(), b"dtype": value.dtype.str}
    raise TypeError(f"{type(value).__name__} cannot be sent")


def _unpack(found: dict[Any, Any]) -> Any:
    if b"__ndarray__" in found:
        dtype, shape = _plain_type(found[b"dtype"]), found[b"shape"]
        # The size is checked before numpy sees it, since shapes are not trusted.
        if any(type(n) is not int or n < 0 for n in shape) or len(found[b"data"]) != math.prod(shape) * dtype.itemsize:
            raise ValueError(f"{len(found[b'data'])} bytes are no array {shape} of {dtype}")
        return np.frombuffer(found[b"data"], dtype).reshape(shape)
    if b"__npgeneric__" in found:
        return _plain_type(found[b"dtype"]).type(found[b"data"])
    if b"nd" in found or "__ndarray_class__" in found:
        raise ValueError("arrays come here as openpi's clients send them, not as msgpack-numpy or GR00T's clients do")
    return found


def _plain_type(name: Any) -> np.dtype[Any]:
    dtype = np.dtype(str(name))
    if dtype.kind not in "biufSU":
        raise ValueError(f"arrays of {dtype} are not accepted")
    return dtype
