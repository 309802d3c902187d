"""Writes the fixtures beside it: what clients of openpi and GR00T send and expect, laid down byte by byte.

Nothing here uses msgpack or numpy's own writers: the fixtures say what is on the wire, not what a library does.
"""

import struct
from pathlib import Path

HERE = Path(__file__).parent


def text(string):
    """fixstr, str 8"""
    raw = string.encode()
    return (bytes([0xA0 | len(raw)]) if len(raw) < 32 else b"\xd9" + bytes([len(raw)])) + raw


def binary(raw):
    """bin 8, bin 16"""
    return (b"\xc4" + bytes([len(raw)]) if len(raw) < 256 else b"\xc5" + struct.pack(">H", len(raw))) + raw


def array(*items):
    return bytes([0x90 | len(items)]) + b"".join(items)


def maps(*pairs):
    return bytes([0x80 | len(pairs)]) + b"".join(key + value for key, value in pairs)


def keyed(**pairs):
    return maps(*((text(key), value) for key, value in pairs.items()))


TRUE, NIL = b"\xc3", b"\xc0"


def number(n):
    """positive fixint"""
    return bytes([n])


def npy(descr, shape, data):
    """numpy's file format 1.0: magic, version, length of the header, the header padded to 64 bytes, the elements."""
    header = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}"
    header += " " * (-(10 + len(header) + 1) % 64) + "\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode() + data


def floats(*values):
    return b"".join(struct.pack("<f", v) for v in values)


def gr00t_array(descr, shape, data):
    return keyed(__ndarray_class__=TRUE, as_npy=binary(npy(descr, shape, data)))


def openpi_array(descr, shape, data):
    sizes = array(*map(number, shape))
    return maps(
        (binary(b"__ndarray__"), TRUE),
        (binary(b"data"), binary(data)),
        (binary(b"dtype"), text(descr)),
        (binary(b"shape"), sizes),
    )


STATE = (0.5, -1.0, 2.0, 0.25, 8.0, -0.125, 1.0)
MINUS = tuple(-v for v in STATE)
STATIC, WRIST = bytes(range(256)) * 9, bytes(range(256)) * 3  # 24 × 32 × 3 and 16 × 16 × 3
SENTENCE = "annotation.human.action.task_description"

n1_5 = maps(
    (text("video.front"), gr00t_array("|u1", (1, 24, 32, 3), STATIC)),
    (text("video.wrist"), gr00t_array("|u1", (1, 16, 16, 3), WRIST)),
    (text("state.pose"), gr00t_array("<f4", (1, 6), floats(*STATE[:6]))),
    (text("state.gripper"), gr00t_array("<f4", (1, 1), floats(STATE[6]))),
    (text(SENTENCE), array(text("push"))),
)
n1_5_reply = maps(
    (text("action.pose"), gr00t_array("<f4", (2, 6), floats(*STATE[:6], *MINUS[:6]))),
    (text("action.gripper"), gr00t_array("<f4", (2, 1), floats(STATE[6], MINUS[6]))),
)
n1_6 = keyed(
    observation=keyed(
        video=keyed(
            front=gr00t_array("|u1", (1, 1, 24, 32, 3), STATIC), wrist=gr00t_array("|u1", (1, 1, 16, 16, 3), WRIST)
        ),
        state=keyed(
            pose=gr00t_array("<f4", (1, 1, 6), floats(*STATE[:6])),
            gripper=gr00t_array("<f4", (1, 1, 1), floats(STATE[6])),
        ),
        language=keyed(task=array(array(text("push")))),
    ),
    options=NIL,
)
n1_6_reply = array(
    keyed(
        pose=gr00t_array("<f4", (1, 2, 6), floats(*STATE[:6], *MINUS[:6])),
        gripper=gr00t_array("<f4", (1, 2, 1), floats(STATE[6], MINUS[6])),
    ),
    keyed(),
)
openpi = maps(
    (text("observation/image"), openpi_array("|u1", (24, 32, 3), STATIC)),
    (text("observation/wrist_image"), openpi_array("|u1", (16, 16, 3), WRIST)),
    (text("observation/state"), openpi_array("<f4", (7,), floats(*STATE))),
    (text("prompt"), text("push")),
)
openpi_reply = (  # followed by the two maps of timings
    b"\x84"
    + text("actions")
    + openpi_array("<f4", (2, 7), floats(*STATE, *MINUS))
    + text("state")
    + openpi_array("<f4", (7,), floats(*STATE))
    + text("policy_timing")
)
known = "There is no endpoint 'dance' here; there are ping, get_action, reset, get_modality_config."
pickled = "23 bytes are no array (1,) of object"

FIXTURES = {
    # The endpoint defaults to get_action.
    "gr00t_n1_5_get_action": (keyed(data=n1_5), n1_5_reply),
    "gr00t_n1_6_get_action": (keyed(endpoint=text("get_action"), data=n1_6), n1_6_reply),
    "gr00t_ping": (keyed(endpoint=text("ping")), keyed(status=text("ok"), message=text("Server is running"))),
    "gr00t_reset": (keyed(endpoint=text("reset"), data=keyed(options=NIL)), keyed()),
    "gr00t_unknown_endpoint": (keyed(endpoint=text("dance")), keyed(error=text(f"ProtocolError: {known}"))),
    "gr00t_pickled": (
        keyed(data=keyed(x=gr00t_array("|O", (1,), b"cos\nsystem\n(S'true'\ntR."))),
        keyed(error=text(f"ProtocolError: This is no request: ValueError: {pickled}.")),
    ),
    "openpi_infer": (openpi, openpi_reply),
}

for name, (request, reply) in FIXTURES.items():
    (HERE / f"{name}.request").write_bytes(request)
    (HERE / f"{name}.reply").write_bytes(reply)
