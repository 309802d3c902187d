"""Noticing a peer whose machine or cable is gone, without a word from it."""

from __future__ import annotations

import zmq

SILENCE = 5
"""Seconds after which a connection without any sign of life from the other machine is dropped."""


def watch_peer(socket: zmq.Socket[bytes]) -> None:
    """Let the kernels of both machines ask each other every second whether they are still there; before bind or connect.

    ZeroMQ's own heartbeats would do the same, but libzmq 4.3.5 aborts the whole process when one is due on a connection
    that broke while its input was held back (a client that floods and goes away: ``Assertion failed: !_io_error``).
    """
    socket.setsockopt(zmq.TCP_KEEPALIVE, 1)
    socket.setsockopt(zmq.TCP_KEEPALIVE_IDLE, 1)
    socket.setsockopt(zmq.TCP_KEEPALIVE_INTVL, 1)
    socket.setsockopt(zmq.TCP_KEEPALIVE_CNT, SILENCE - 1)
    socket.setsockopt(zmq.TCP_MAXRT, SILENCE * 1000)  # for what was sent and is not acknowledged
