"""Protocol adapter for openpi's clients: msgpack over a websocket."""

from __future__ import annotations

import math
import time
from typing import Any, ClassVar

import msgpack
import numpy as np
from websockets.http11 import Request
from websockets.sync.server import ServerConnection

from forehand.errors import ProtocolError
from forehand.wire.adapters.adapter import ClientSession
from forehand_plugins.adapters.websocket import WebsocketAdapter

HEADER = "Api-Key "


class OpenPiAdapter(WebsocketAdapter):
    """openpi's clients: an observation is answered with a chunk of actions."""

    protocol: ClassVar[str] = "openpi"

    def key_of(self, request: Request) -> str | None:
        """See :meth:`WebsocketAdapter.key_of`."""
        shown = request.headers.get("Authorization", "")
        return shown.removeprefix(HEADER) if shown.startswith(HEADER) else None

    def path_response(self, path: str) -> str | None:
        """See :meth:`WebsocketAdapter.path_response`."""
        return "OK\n" if path == "/healthz" else None

    def failure(self, words: str) -> str:
        """Text, which their clients take for the server's traceback, and raise."""
        return words

    def converse(self, connection: ServerConnection, session: ClientSession) -> None:
        """See :meth:`WebsocketAdapter.converse`."""
        connection.send(encode({"policy": dict(session.facts), "contract": session.contract.to_dict()}))
        spent: dict[str, float] = {}
        for message in connection:
            spent = self._answer(connection, session, message, spent)

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
