"""Every message survives the wire unchanged and uncopied; whatever breaks a rule is a ProtocolError and nothing else."""

from __future__ import annotations

from contextlib import suppress

import msgpack
import numpy as np
import pytest
import zmq
from hypothesis import given, settings
from hypothesis import strategies as st

from forehand.wire import ProtocolError, VersionMismatch
from forehand.wire.messages import DTYPES, MAX_FRAME, MAX_FRAMES, MAX_HEADER, PREFIX, Message, decode, encode

HEADER = {"kind": "step", "id": 7, "session": None, "budget": 1.0, "payload": {}}


def placeholder(*content: object) -> msgpack.ExtType:
    return msgpack.ExtType(1, msgpack.packb(list(content)))


def framed(*buffers: bytes, **changes: object) -> list[bytes]:
    return [PREFIX + msgpack.packb({**HEADER, **changes}), *buffers]


@pytest.mark.parametrize("dtype", sorted(DTYPES))
@pytest.mark.parametrize("shape", [(), (0,), (3, 0, 2), (5,), (2, 3, 4)])
def test_arrays_of_every_kind_come_back_equal(dtype, shape):
    array = np.asarray(np.random.default_rng(0).random(shape) * 100).astype(dtype)
    (back,) = decode(encode(Message("step", 1, {"a": [array]}))).payload["a"]
    assert (back.dtype, back.shape) == (array.dtype, array.shape)
    np.testing.assert_array_equal(back, array)


def test_layouts_that_are_not_contiguous_or_not_little_endian_come_back_equal():
    array = np.arange(24, dtype=np.int32).reshape(4, 6)
    sent = {"transposed": array.T, "strided": array[::2, ::-1], "big": array.astype(">i4"), "scalar": np.float32(1.5)}
    back = decode(encode(Message("step", 1, sent))).payload
    for key, value in sent.items():
        np.testing.assert_array_equal(back[key], value)


def test_everything_else_comes_back_equal():
    payload = {"s": "Würfel", "n": None, "b": True, "i": -5, "f": 0.1, "list": [1, [2, {"deep": "yes"}]], "empty": {}}
    message = Message("open", 2**62, payload, session="abc", budget=0.25)
    assert decode(encode(message)) == message


def test_no_array_is_copied_on_either_side():
    image = np.arange(224 * 224 * 3, dtype=np.uint8).reshape(224, 224, 3)
    frames = encode(Message("step", 1, {"image": image}))
    assert np.shares_memory(np.frombuffer(frames[1], np.uint8), image)

    context = zmq.Context.instance()
    with context.socket(zmq.PAIR) as sender, context.socket(zmq.PAIR) as receiver:
        port = receiver.bind_to_random_port("tcp://127.0.0.1")
        sender.connect(f"tcp://127.0.0.1:{port}")
        sender.send_multipart(frames, copy=False)
        received = receiver.recv_multipart(copy=False)
    back = decode([frame.buffer for frame in received]).payload["image"]
    assert np.shares_memory(back, np.frombuffer(received[1].buffer, np.uint8))
    np.testing.assert_array_equal(back, image)


@pytest.mark.parametrize(
    ("frames", "says"),
    [
        ([], "1 to"),
        ([b""], "FHND"),
        ([b"GET / HTTP/1.1\r\n\r\n"], "FHND"),
        ([PREFIX], "msgpack"),
        ([framed()[0][:-1]], "msgpack"),
        ([framed()[0] + b"\0"], "msgpack"),
        ([PREFIX + msgpack.packb([1, 2])], "must be a map"),
        ([PREFIX + msgpack.packb({k: v for k, v in HEADER.items() if k != "budget"})], "exactly the keys"),
        (framed(extra=1), "exactly the keys"),
        (framed(id=-1), "id must be"),
        (framed(id=True), "id must be"),
        (framed(id="7"), "id must be"),
        (framed(kind=3), "kind must be"),
        (framed(session=3), "session must be"),
        (framed(budget=-1), "budget must be"),
        (framed(budget=float("nan")), "budget must be"),
        (framed(budget=1e9), "budget must be"),
        (framed(payload=[]), "payload must be"),
        (framed(payload={"a": {1: 2}}), "msgpack"),
        (framed(payload={"a": b"raw"}), "bytes"),
        (framed(payload={"a": msgpack.Timestamp(1)}), "Timestamp"),
        (framed(payload={"a": msgpack.ExtType(9, b"")}), "ExtType"),
        (framed(payload={"a": msgpack.ExtType(1, b"\xc1")}), "msgpack"),
        (framed(b"1234", payload={"a": placeholder(1, "uint8")}), "placeholder"),
        (framed(payload={"a": placeholder(1, "uint8", [4])}), "frame 1"),
        (framed(b"1234", payload={"a": placeholder(0, "uint8", [4])}), "frame 0"),
        (framed(b"1234", payload={"a": placeholder(-1, "uint8", [4])}), "frame -1"),
        (framed(b"1234", payload={"a": [placeholder(1, "uint8", [4])] * 2}), "frame 1"),
        (framed(b"1234"), "no array"),
        (framed(b"1234", payload={"a": placeholder(1, "object", [4])}), "dtype"),
        (framed(b"1234", payload={"a": placeholder(1, "V4", [1])}), "dtype"),
        (framed(b"1234", payload={"a": placeholder(1, ["f4"], [1])}), "dtype"),
        (framed(b"1234", payload={"a": placeholder(1, "uint8", [5])}), "needs 5 bytes"),
        (framed(b"1234", payload={"a": placeholder(1, "float32", [2])}), "needs 8 bytes"),
        (framed(b"1234", payload={"a": placeholder(1, "uint8", [-4])}), "shape"),
        (framed(b"1234", payload={"a": placeholder(1, "uint8", [4.0])}), "shape"),
        (framed(b"1234", payload={"a": placeholder(1, "uint8", [1] * 9)}), "shape"),
        (framed(b"", payload={"a": placeholder(1, "uint8", [2**63, 2**63, 0])}), "shape"),
        (framed(*[b""] * MAX_FRAMES), "frames"),
        ([PREFIX + b"\0" * MAX_HEADER], "header"),
        (framed(bytes(MAX_FRAME + 1)), "largest frame"),
    ],
)
def test_what_breaks_a_rule_is_named(frames, says):
    with pytest.raises(ProtocolError, match=says):
        decode(frames)


def test_nesting_is_limited():
    deep: object = 1
    for _ in range(40):
        deep = [deep]
    with pytest.raises(ProtocolError, match="deep"):
        decode(framed(payload={"a": deep}))
    with pytest.raises(ProtocolError):
        decode([PREFIX + b"\x91" * 100_000])


def test_another_version_is_told_from_nonsense():
    with pytest.raises(VersionMismatch, match="version 9 of the protocol, this side version 1"):
        decode([b"FHND\x09 whatever a later version may put here"])


def test_an_error_knows_its_request_once_that_could_be_read():
    with pytest.raises(ProtocolError) as caught:
        decode(framed(b"too much", id=41))
    assert caught.value.request_id == 41


@pytest.mark.parametrize("value", [object(), b"bytes", {1, 2}, np.array(["text"]), np.array([None]), 2**70, 1j])
def test_what_cannot_be_sent_is_refused_before_it_leaves(value):
    with pytest.raises(ProtocolError):
        decode(encode(Message("step", 1, {"a": value})))


def judge(frames: list[bytes]) -> None:
    """A decoder has two answers: a message, or a ProtocolError."""
    with suppress(ProtocolError):
        assert isinstance(decode(frames), Message)


leaves = st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats()
leaves |= st.text(max_size=8) | st.binary(max_size=8)
keys = st.text(max_size=4) | st.integers(0, 9)
plain = st.recursive(leaves, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=4))
placeholders = st.builds(
    lambda *content: msgpack.ExtType(1, msgpack.packb(content)),
    st.integers(-1, 3) | plain,
    st.sampled_from([*sorted(DTYPES), "object", "O", "f4", "<U4", ""]) | plain,
    st.lists(st.integers(-2, 2**64 - 1), max_size=10) | plain,
)


@settings(max_examples=400, deadline=None)
@given(st.lists(st.binary(max_size=64), max_size=5), st.booleans())
def test_random_bytes_never_crash_the_decoder(frames, with_prefix):
    judge([PREFIX + frames[0], *frames[1:]] if with_prefix and frames else frames)


@pytest.mark.slow
@settings(max_examples=400, deadline=None)
@given(
    st.fixed_dictionaries({}, optional=dict.fromkeys(HEADER, plain)),
    st.dictionaries(st.text(max_size=3), plain | placeholders | st.lists(placeholders, max_size=3), max_size=3),
    st.lists(st.binary(max_size=16), max_size=3),
)
def test_well_formed_msgpack_with_any_content_never_crashes_the_decoder(changes, payload, buffers):
    judge(framed(*buffers, **{"payload": payload, **changes}))


@settings(max_examples=400, deadline=None)
@given(st.data())
def test_damaged_messages_never_crash_the_decoder(data):
    payload = {"images": {"static": np.zeros((4, 4, 3), np.uint8)}, "state": np.ones(7, np.float32), "time": 1.0}
    frames = [bytes(frame) for frame in encode(Message("step", 5, payload, "abc", 1.0))]
    which = data.draw(st.integers(0, len(frames) - 1))
    damaged = bytearray(frames[which])
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    frames[which] = bytes(damaged[: data.draw(st.integers(0, len(damaged)))])
    judge(data.draw(st.permutations(frames))[: data.draw(st.integers(0, len(frames)))])
