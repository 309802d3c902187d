"""Liveness checks: heartbeats that detect a lost machine or network, and abrupt disconnects."""

from __future__ import annotations

import contextlib
import ctypes
import socket as sockets
import struct
import sys

import zmq

from forehand.wire.peers import Peers

CLIENT_KEEPALIVE = 5
"""Seconds after which a client drops a connection without any sign of life from the other machine."""

SERVER_KEEPALIVE = 30
"""The same at an endpoint: long enough to read what a flood has left in the kernel's buffer (see :func:`listen`)."""

_SO_ATTACH_FILTER = 26
_UNLESS_RESET = (  # classic BPF on the TCP header: drop the segment if its flags hold RST, else keep all of it
    (0x30, 0, 0, 13),  # A = byte 13
    (0x45, 0, 1, 0x04),  # if A & RST
    (0x06, 0, 0, 0),  # drop
    (0x06, 0, 0, 0xFFFFFFFF),  # keep
)


def watch_peer(socket: zmq.Socket[bytes], silence: int = CLIENT_KEEPALIVE) -> None:
    """Set TCP keep-alive such that a lost peer is noticed within ``silence`` seconds; before bind or connect.

    ZeroMQ's own heartbeats would do the same, but libzmq 4.3.5 aborts the whole process when one is due on a connection
    that broke while its input was held back (a client that floods and goes away: ``Assertion failed: !_io_error``).
    """
    interval = max(1, silence // 5)
    socket.setsockopt(zmq.TCP_KEEPALIVE, 1)
    socket.setsockopt(zmq.TCP_KEEPALIVE_IDLE, interval)
    socket.setsockopt(zmq.TCP_KEEPALIVE_INTVL, interval)
    socket.setsockopt(zmq.TCP_KEEPALIVE_CNT, 4)
    socket.setsockopt(zmq.TCP_MAXRT, silence * 1000)  # for what was sent and is not acknowledged


def listen(socket: zmq.Socket[bytes], address: str, most: int) -> Peers:
    """Bind ``socket``, for ``most`` connections, such that no client can abort this process by resetting its own.

    libzmq 4.3.5 answers a ZMTP PING at once, and aborts the process where it finds one among input that it had held back
    on a connection that is reset meanwhile; any client can cause it. So on Linux the kernel drops resets before
    the connection sees them: it is read to its end, and then ends by its silence. Elsewhere nothing can be done.
    """
    peers = Peers(socket, most)
    try:
        socket.bind(address)
        if sys.platform == "linux" and address.startswith("tcp://"):
            listening = peers.listening()
            try:
                with contextlib.suppress(OSError):  # a sandbox may not let filters through; it serves all the same
                    _drop_resets(listening)  # connections inherit it
            finally:
                listening.detach()
    except BaseException:
        peers.close()
        raise
    return peers


def _drop_resets(listening: sockets.socket) -> None:
    program = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in _UNLESS_RESET))
    pointer = struct.pack("HP", len(_UNLESS_RESET), ctypes.addressof(program))
    listening.setsockopt(sockets.SOL_SOCKET, _SO_ATTACH_FILTER, pointer)
