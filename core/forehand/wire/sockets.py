"""Sending, receiving and monitoring on a ZeroMQ socket."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence

import zmq

COPIED = 2**20
"""Bytes up to which copying a frame is faster than sending it in place, which wakes a thread of pyzmq's afterwards."""

# Plain numbers, since arithmetic with enumerations takes longer than the calls they are passed to.
_EVENTS, _POLLIN = int(zmq.EVENTS), int(zmq.POLLIN)
_NOBLOCK, _MORE = int(zmq.NOBLOCK), int(zmq.NOBLOCK | zmq.SNDMORE)


def readable(socket: zmq.Socket[bytes]) -> bool:
    """Whether a message can be received without waiting."""
    return bool(int(socket.getsockopt(_EVENTS)) & _POLLIN)


def send(socket: zmq.Socket[bytes], frames: Sequence[bytes | memoryview]) -> None:
    """Send one message of bytes without waiting; raises :class:`zmq.Again` where that cannot be."""
    for frame in frames[:-1]:
        socket.send(frame, _MORE, copy=len(frame) <= COPIED)
    socket.send(frames[-1], _NOBLOCK, copy=len(frames[-1]) <= COPIED)


def receive(socket: zmq.Socket[bytes], most: int) -> list[zmq.Frame]:
    """The frames of one message that has arrived; frames beyond ``most`` are dropped as they come."""
    frames: list[zmq.Frame] = []
    while True:
        frame = socket.recv(_NOBLOCK, copy=False)
        if len(frames) < most:
            frames.append(frame)
        if not frame.more:
            return frames


def end_monitor_with(owner: object, socket: zmq.Socket[bytes], monitor: zmq.Socket[bytes]) -> Callable[[], object]:
    """Stop monitoring ``socket`` when ``owner`` is garbage-collected, or by calling what this returns.

    Where the reader of a monitor is closed before its socket, the next event blocks the thread of ZeroMQ that moves the
    messages of all sockets, for ever; and what is garbage-collected closes its sockets in any order.
    """
    finalizer = weakref.finalize(owner, _end_monitor, socket, monitor)
    finalizer.atexit = False  # ZeroMQ ends by itself there
    return finalizer


def _end_monitor(socket: zmq.Socket[bytes], monitor: zmq.Socket[bytes]) -> None:
    socket.disable_monitor()
    monitor.close(linger=0)
