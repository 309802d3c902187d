"""Protocol adapter for vla-eval's benchmarks: msgpack over a websocket, one action for each observation."""

from __future__ import annotations

import io
import math
import time
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, ClassVar

import msgpack
import numpy as np
from numpy.typing import NDArray
from websockets.http11 import Request
from websockets.sync.server import ServerConnection

from forehand import registry
from forehand.control.chunking import ActionChunker, make_chunker
from forehand.errors import ConfigurationError, ForehandError, ProtocolError
from forehand.wire.adapters.adapter import ClientSession
from forehand_plugins.adapters.websocket import MAX_ERROR, WebsocketAdapter

VERSION = 1
"""Of the protocol."""

HELLO, START, OBSERVATION, ACTION, END, ERROR = (
    "hello",
    "episode_start",
    "observation",
    "action",
    "episode_end",
    "error",
)
"""Types of messages."""

BEARER = "Bearer "


class VlaEvalAdapter(WebsocketAdapter):
    """vla-eval's benchmarks (``pip install vla-eval``, 0.8), in images of their own or not.

    Keys of the key map are paths in the observation: ``images/agentview``. chunking: name and options of how chunks
    become one action for each observation, as of ``forehand eval``; binary_gripper: whether the gripper is rounded to its
    limits.
    """

    protocol: ClassVar[str] = "vla_eval"

    def __init__(
        self,
        *given: Any,
        chunking: Mapping[str, Any] = MappingProxyType({"name": "receding_horizon"}),
        binary_gripper: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(*given, **options)
        self._chunking, self._binary_gripper = dict(chunking), binary_gripper
        name, chosen = self._chunking["name"], {key: v for key, v in self._chunking.items() if key != "name"}
        if registry().create("chunking", name, **chosen).asynchronous:
            raise ConfigurationError(
                "adapters.vla_eval.chunking: its benchmarks wait for each action, so chunks cannot be carried out "
                "asynchronously. Use receding_horizon or temporal_ensemble."
            )

    def key_of(self, request: Request) -> str | None:
        """See :meth:`WebsocketAdapter.key_of`."""
        shown = request.headers.get("Authorization", "")
        return shown.removeprefix(BEARER) if shown.startswith(BEARER) else None

    def path_response(self, path: str) -> str | None:
        """See :meth:`WebsocketAdapter.path_response`."""
        return '{"status": "ok"}\n' if path == "/health" else None

    def failure(self, words: str) -> bytes:
        """A message of the type ``error``."""
        return encode(ERROR, {"error": words}, 0)

    def converse(self, connection: ServerConnection, session: ClientSession) -> None:
        """Answer what asks for an answer; an observation that cannot be answered does not end the connection."""
        chunker = self._chunker(session)
        for message in connection:
            kind, payload, number = decode(message)
            if kind == HELLO:
                facts = {"model_server": "forehand", "capabilities": {}, "contract": session.contract.to_dict()}
                connection.send(encode(HELLO, {"harness_version": "", "protocol_version": VERSION, **facts}, number))
            elif kind == START:
                session.reset()
                chunker.reset()
            elif kind == OBSERVATION:
                connection.send(self._answer(session, chunker, payload, number))

    def _answer(self, session: ClientSession, chunker: ActionChunker, payload: Mapping[str, Any], number: int) -> bytes:
        try:
            actions, _ = session.step(flat(payload))
        except ForehandError as error:
            return encode(ERROR, {"error": f"{type(error).__name__}: {error}"[:MAX_ERROR]}, number)
        if chunker.needs_prediction:
            chunker.add(actions)
        return encode(ACTION, {"actions": chunker.next_action()}, number)

    def _chunker(self, session: ClientSession) -> ActionChunker:
        return make_chunker(session.contract, binary_gripper=self._binary_gripper, **self._chunking)


def flat(payload: Mapping[str, Any], path: str = "") -> dict[str, Any]:
    """What maps inside maps hold, by path: ``images/agentview``."""
    found: dict[str, Any] = {}
    for key, value in payload.items():
        found |= flat(value, f"{path}{key}/") if isinstance(value, Mapping) else {f"{path}{key}": value}
    return found


def encode(kind: str, payload: Mapping[str, Any], number: int) -> bytes:
    """A message of type ``kind``, in answer to the one of ``number``."""
    message = {"type": kind, "payload": payload, "seq": number, "timestamp": time.time()}
    packed: bytes = msgpack.packb(message, default=_pack)
    return packed


def decode(message: str | bytes) -> tuple[str, dict[str, Any], int]:
    """Type, payload and number of a message, its pictures as arrays; raises :class:`ProtocolError`."""
    if isinstance(message, str):
        raise ProtocolError("A message is a binary frame, and this was text.")
    try:
        value = msgpack.unpackb(message, object_hook=_unpack)
        kind, payload, number = value["type"], value["payload"], value["seq"]
    except Exception as error:  # broken bytes, pictures and arrays that are none, and messages without these keys
        raise ProtocolError(f"This is no message of vla-eval: {type(error).__name__}: {error}.") from error
    if kind not in (HELLO, START, OBSERVATION, ACTION, END, ERROR) or not isinstance(payload, dict):
        raise ProtocolError(f"This is no message of vla-eval: its type is {kind!r}.")
    return kind, payload, int(number)


def _pack(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        value = np.ascontiguousarray(value)
        return {"__ndarray__": True, "data": value.tobytes(), "dtype": value.dtype.str, "shape": list(value.shape)}
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{type(value).__name__} cannot be sent")


def _unpack(found: dict[str, Any]) -> Any:
    if "__image__" in found and found["format"] != "raw":
        from PIL import Image

        return np.asarray(Image.open(io.BytesIO(found["data"]), formats=("PNG", "JPEG")))
    return _array(found) if "__image__" in found or "__ndarray__" in found else found


def _array(found: Mapping[str, Any]) -> NDArray[Any]:
    dtype, shape = np.dtype(str(found["dtype"])), found["shape"]
    if dtype.kind not in "biuf":
        raise ValueError(f"arrays of {dtype} are not accepted")
    # The size is checked before numpy sees it, since shapes are not trusted.
    if any(type(n) is not int or n < 0 for n in shape) or len(found["data"]) != math.prod(shape) * dtype.itemsize:
        raise ValueError(f"{len(found['data'])} bytes are no array {shape} of {dtype}")
    return np.frombuffer(found["data"], dtype).reshape(shape)
