"""``docs/reference/protocol.md`` is enough to write a client from: here is one, of ZeroMQ, MessagePack and that page."""

from __future__ import annotations

import re
import struct
from pathlib import Path

import msgpack
import zmq

from forehand.utils.plain import to_plain
from forehand.wire.errors import CODES
from forehand.wire.messages import Message, encode

PAGE = (Path(__file__).parents[3] / "docs" / "reference" / "protocol.md").read_text()


def test_the_bytes_on_the_page_are_the_bytes_on_the_wire():
    block = PAGE.split("one frame of 54 bytes:")[1].split("```")[1]
    written = "".join(re.match(r"[0-9a-f ]*", line).group() for line in block.splitlines())
    (frame,) = encode(Message("ping", 2, {}, None, 1.0))
    assert bytes.fromhex(written) == frame
    assert len(frame) == 54


def test_every_code_is_on_the_page():
    assert set(re.findall(r"^\| `(\w+)` \| ", PAGE, re.M)) >= set(CODES)


def array(frame: int, dtype: str, shape: list[int]) -> msgpack.ExtType:
    return msgpack.ExtType(1, msgpack.packb([frame, dtype, shape]))


def test_a_client_written_from_the_page_drives(serve, contract):
    with zmq.Context.instance().socket(zmq.DEALER) as dealer:
        dealer.linger = 0
        dealer.connect(serve().address)

        def ask(kind, id, payload, session=None, buffers=()):
            header = {"kind": kind, "id": id, "session": session, "budget": 20, "payload": payload}
            dealer.send_multipart([b"FHND\x01" + msgpack.packb(header), *buffers])
            answer, *arrays = dealer.recv_multipart()
            assert answer[:5] == b"FHND\x01"
            fields = msgpack.unpackb(answer[5:])
            assert fields["kind"] == "result", fields["payload"]
            assert fields["id"] == id
            return fields["payload"], arrays

        hello, _ = ask("hello", 1, {"contract": to_plain(contract.to_dict())})
        assert hello["role"] == "policy"
        opened, _ = ask("open", 2, {"instruction": "push", "contract": hello["contract"]})
        images, buffers = {}, [struct.pack("<7f", 1, 2, 3, 4, 5, 6, 7)]
        for camera in hello["contract"]["cameras"]:
            buffers.append(bytes(camera["height"] * camera["width"] * 3))
            images[camera["name"]] = array(len(buffers), "uint8", [camera["height"], camera["width"], 3])
        observation = {"images": images, "state": array(1, "float32", [7]), "time": 0.5, "success": None}
        answer, arrays = ask("step", 3, {"observation": observation, "forecast": False}, opened["session"], buffers)
        frame, dtype, shape = msgpack.unpackb(answer["actions"].data)
        assert (dtype, shape) == ("float32", [2, 7])
        assert struct.unpack("<7f", arrays[frame - 1][:28]) == (1, 2, 3, 4, 5, 6, 7)
        assert answer["timing"]["batch"] == 1
        ask("close", 4, {}, opened["session"])
