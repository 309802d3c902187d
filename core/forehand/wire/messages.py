"""Message framing over ZeroMQ: a header, then array buffers without a copy.

``docs/reference/protocol.md`` is the specification. Whatever arrives is judged strictly, since it may come from anyone:
what breaks a rule raises :class:`ProtocolError`, and nothing is ever unpickled or executed.
"""

from __future__ import annotations

import math
from collections.abc import Buffer, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgpack
import numpy as np
from numpy.typing import NDArray

from forehand.errors import ProtocolError, VersionMismatch
from forehand.registry import indefinite
from forehand.wire.jpeg import compress, decompress, is_picture

MAGIC = b"FHND"
VERSION = 1
PREFIX = MAGIC + bytes([VERSION])

_INTEGERS = [f"{sign}int{bits}" for bits in (8, 16, 32, 64) for sign in ("", "u")]
_NAMES = ["bool", *_INTEGERS, "float16", "float32", "float64"]
DTYPES = {name: np.dtype(name).newbyteorder("<") for name in _NAMES}
"""The arrays that may be sent: dtype by name, little-endian."""

_NAME_OF = {variant: name for name, dtype in DTYPES.items() for variant in (dtype, dtype.newbyteorder(">"))}

ARRAY_EXTENSION = 1
"""The msgpack extension type of an array's placeholder."""

JPEG_EXTENSION = 2
"""That of a picture whose frame is a JPEG."""

MAX_HEADER = 256 * 1024
MAX_FRAME = 32 * 1024 * 1024
MAX_FRAMES = 64
MAX_BYTES = 128 * 1024 * 1024
MAX_DEPTH = 16
MAX_DIMENSIONS = 8
MAX_BUDGET = 24 * 3600.0
MAX_ID = 2**63 - 1

FOREIGN = (
    " Arrays are sent as frames of their own, named in the payload by extension type 1 (docs/reference/protocol.md), not "
    "in the dialect of msgpack-numpy; clients of openpi's and GR00T's servers connect to an adapter instead "
    "(docs/guides/clients.md)."
)
"""What to send, in errors about anything else."""

_KEYS = ("kind", "id", "session", "budget", "payload")

_SCALARS = frozenset({type(None), bool, int, float, str})


@dataclass(frozen=True)
class Message:
    """A request or an answer.

    kind: what is asked, or ``"result"`` or ``"error"``; id: the request's number, greater than any before it on this
    connection, repeated in its answer; budget: seconds within which the answer is worth having, None in answers;
    payload: maps with string keys, lists, strings, numbers, booleans, None and numeric arrays.
    """

    kind: str
    id: int
    payload: dict[str, Any] = field(default_factory=dict)
    session: str | None = None
    budget: float | None = None


def encode(message: Message, jpeg: int | None = None) -> list[bytes | memoryview]:
    """The frames of a message. Array frames are views: leave the arrays alone until the answer has come.

    ``jpeg``: quality, 1 to 100, with which pictures, (H, W, 3) uint8, are compressed; None sends them as they are.
    """
    buffers: list[bytes | memoryview] = []

    def place(value: Any) -> Any:
        if isinstance(value, np.ndarray):
            if jpeg is not None and is_picture(value):
                buffers.append(compress(value, jpeg))
                return msgpack.ExtType(JPEG_EXTENSION, msgpack.packb([len(buffers), value.shape[:2]]))
            name, data = _buffer(value)
            buffers.append(data)
            return msgpack.ExtType(ARRAY_EXTENSION, msgpack.packb([len(buffers), name, value.shape]))
        if isinstance(value, np.generic):
            return value.item()
        if isinstance(value, int):
            raise ProtocolError(f"The number {value} cannot be sent: it does not fit into 64 bits.")
        raise ProtocolError(f"A {type(value).__name__} cannot be sent; convert it to numbers, strings or arrays.")

    try:
        header = msgpack.packb(
            {
                "kind": message.kind,
                "id": message.id,
                "session": message.session,
                "budget": message.budget,
                "payload": message.payload,
            },
            default=place,
        )
    except (TypeError, ValueError, OverflowError) as error:
        raise ProtocolError(f"A {message.kind!r} message cannot be sent: {error}.") from error
    frames = [PREFIX + header, *buffers]
    _check_sizes(frames)
    return frames


def decode(frames: Sequence[Buffer], limit: int = MAX_BYTES) -> Message:
    """The message in ``frames``; its arrays are views on them (numbers that lie unaligned in a frame are copied).

    ``limit``: bytes that a message may have, where less than the protocol allows are wanted.
    """
    _check_sizes(frames, limit)
    header = bytes(frames[0])
    if not header.startswith(MAGIC):
        raise ProtocolError(
            f"This is not a Forehand message: it does not begin with 'FHND'. Is the address right?{FOREIGN}"
        )
    if header[: len(PREFIX)] != PREFIX:
        theirs = header[len(MAGIC)] if len(header) > len(MAGIC) else "none"
        raise VersionMismatch(
            f"The other side has version {theirs} of the protocol, this side version {VERSION}. "
            f"Install the same release of forehand on both computers."
        )
    fields = _unpack(memoryview(header)[len(PREFIX) :])
    if not isinstance(fields, dict) or set(fields) != set(_KEYS):
        found = sorted(map(str, fields)) if isinstance(fields, dict) else type(fields).__name__
        raise ProtocolError(f"A header must be a map with exactly the keys {list(_KEYS)}; this is {found}.")
    identifier = fields["id"]
    if type(identifier) is not int or not 0 <= identifier <= MAX_ID:
        raise ProtocolError(f"A message's id must be a whole number from 0 to 2⁶³-1; this is {identifier!r}.")
    try:
        return _message(fields, frames)
    except ProtocolError as error:
        error.request_id = identifier
        raise


def _message(fields: dict[str, Any], frames: Sequence[Buffer]) -> Message:
    kind, session, budget = fields["kind"], fields["session"], fields["budget"]
    if not isinstance(kind, str):
        raise ProtocolError(f"A message's kind must be a string; this is {kind!r}.")
    if not (session is None or isinstance(session, str)):
        raise ProtocolError(f"A session must be a string or nil; this is {session!r}.")
    if budget is not None:
        if type(budget) not in (int, float) or not math.isfinite(budget) or not 0 <= budget <= MAX_BUDGET:
            raise ProtocolError(f"A budget must be seconds from 0 to {MAX_BUDGET:.0f}, or nil; this is {budget!r}.")
        budget = float(budget)
    if not isinstance(fields["payload"], dict):
        raise ProtocolError(f"A payload must be a map; this is {type(fields['payload']).__name__}.")
    unread = set(range(1, len(frames)))
    payload = _restore(fields["payload"], frames, unread, 1)
    if unread:
        raise ProtocolError(f"Frames {sorted(unread)} belong to no array of the payload.")
    return Message(kind, fields["id"], payload, session, budget)


def _restore(value: Any, frames: Sequence[Buffer], unread: set[int], depth: int) -> Any:
    """``value`` with arrays for placeholders; refuses what a payload may not hold."""
    if type(value) in _SCALARS:
        return value
    if depth > MAX_DEPTH:
        raise ProtocolError(f"The payload is nested more than {MAX_DEPTH} deep.")
    if isinstance(value, dict):
        restored = {}
        for key, item in value.items():
            if type(key) is not str:
                raise ProtocolError(f"The payload has a map whose keys are not all strings.{FOREIGN}")
            restored[key] = item if type(item) in _SCALARS else _restore(item, frames, unread, depth + 1)
        return restored
    if isinstance(value, list):
        return [_restore(item, frames, unread, depth + 1) for item in value]
    if isinstance(value, tuple):
        code, data = value
        if code == ARRAY_EXTENSION:
            return _array(_unpack(data), frames, unread)
        if code == JPEG_EXTENSION:
            return _picture(_unpack(data), frames, unread)
    found = "an ExtType" if isinstance(value, tuple) else indefinite(type(value).__name__)
    raise ProtocolError(f"The payload holds {found}, which the protocol does not have.{FOREIGN}")


def _array(placeholder: Any, frames: Sequence[Buffer], unread: set[int]) -> NDArray[Any]:
    if not isinstance(placeholder, list) or len(placeholder) != 3:
        raise ProtocolError(f"An array's placeholder must be [frame, dtype, shape]; this is {placeholder!r}.")
    index, name, shape = placeholder
    if type(index) is not int or index not in unread:
        raise ProtocolError(f"An array names frame {index!r}, which is missing or already another array's.")
    if not isinstance(name, str) or name not in DTYPES:
        raise ProtocolError(f"An array has dtype {name!r}; allowed are {', '.join(sorted(DTYPES))}.")
    if not isinstance(shape, list) or len(shape) > MAX_DIMENSIONS or any(type(n) is not int or n < 0 for n in shape):
        raise ProtocolError(f"An array's shape must be at most {MAX_DIMENSIONS} sizes; this is {shape!r}.")
    dtype = DTYPES[name]
    size, needed = memoryview(frames[index]).nbytes, math.prod(shape) * dtype.itemsize
    if size != needed:
        raise ProtocolError(f"An array of {name} {shape} needs {needed} bytes, but its frame has {size}.")
    unread.remove(index)
    try:
        array = np.frombuffer(frames[index], dtype) if size else np.empty(0, dtype)
        array = array.reshape(shape)
    except ValueError as error:  # an empty array whose other sizes overflow numpy's own limits
        raise ProtocolError(f"An array cannot have shape {shape}: {error}.") from error
    return array if array.flags.aligned else array.copy()


def _picture(placeholder: Any, frames: Sequence[Buffer], unread: set[int]) -> NDArray[np.uint8]:
    if not isinstance(placeholder, list) or len(placeholder) != 2:
        raise ProtocolError(f"A picture's placeholder must be [frame, [height, width]]; this is {placeholder!r}.")
    index, size = placeholder
    if type(index) is not int or index not in unread:
        raise ProtocolError(f"A picture names frame {index!r}, which is missing or already another array's.")
    if not isinstance(size, list) or len(size) != 2 or any(type(n) is not int or n < 1 for n in size):
        raise ProtocolError(f"A picture's size must be [height, width]; this is {size!r}.")
    unread.remove(index)
    return decompress(frames[index], size[0], size[1])


def _buffer(array: NDArray[Any]) -> tuple[str, memoryview]:
    name = _NAME_OF.get(array.dtype)
    if name is None:
        raise ProtocolError(f"An array of {array.dtype} cannot be sent; allowed are {', '.join(sorted(DTYPES))}.")
    little = np.asarray(array, dtype=DTYPES[name], order="C")
    return name, little.reshape(-1).view(np.uint8).data


def _unpack(data: Buffer) -> Any:
    try:
        return msgpack.unpackb(data, raw=False, strict_map_key=True, ext_hook=_extension)
    except Exception as error:  # foreign bytes can fail the parser in any way, and all of them mean one thing
        raise ProtocolError(f"This is not msgpack: {type(error).__name__}: {error}.") from error


def _extension(code: int, data: bytes) -> tuple[int, bytes]:
    """A tuple, which msgpack makes of nothing else; quicker than its own type."""
    return code, data


def _check_sizes(frames: Sequence[Buffer], limit: int = MAX_BYTES) -> None:
    sizes = [memoryview(frame).nbytes for frame in frames]
    if not 1 <= len(sizes) <= MAX_FRAMES:
        raise ProtocolError(f"A message has 1 to {MAX_FRAMES} frames; this has {len(sizes)}.")
    if sizes[0] > MAX_HEADER:
        raise ProtocolError(f"A header may have {MAX_HEADER} bytes; this has {sizes[0]}.")
    if max(sizes) > MAX_FRAME or sum(sizes) > limit:
        raise ProtocolError(
            f"A frame may have {MAX_FRAME} bytes and a message {limit}; "
            f"the largest frame has {max(sizes)}, the message {sum(sizes)}."
        )
