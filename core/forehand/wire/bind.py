"""Binding of a socket to an address, with errors that name the cause."""

from __future__ import annotations

import errno

import zmq

from forehand.errors import AddressUnavailable
from forehand.utils.addresses import use_ipv6
from forehand.wire.access import ServerAuth
from forehand.wire.descriptors import room_for
from forehand.wire.liveness import SERVER_KEEPALIVE, listen, watch_peer
from forehand.wire.messages import MAX_FRAME
from forehand.wire.peers import Peers

QUEUE = 16
"""Messages that wait in the socket for each client, in each direction; beyond that TCP makes the client wait."""


def bind(address: str, gate: ServerAuth, most: int) -> tuple[zmq.Socket[bytes], Peers]:
    """A ROUTER socket that listens at ``address`` behind ``gate``, and its connections, ``most`` of them at once.

    Raises :class:`AddressUnavailable`.
    """
    bound: zmq.Socket[bytes] = gate.context.socket(zmq.ROUTER)
    bound.setsockopt(zmq.LINGER, 0)
    bound.setsockopt(zmq.MAXMSGSIZE, MAX_FRAME)
    bound.setsockopt(zmq.SNDHWM, QUEUE)
    bound.setsockopt(zmq.RCVHWM, QUEUE)
    use_ipv6(bound, address)
    watch_peer(bound, SERVER_KEEPALIVE)
    try:
        gate.guard(bound)
        peers = listen(bound, address, room_for(most, address))
    except zmq.ZMQError as error:
        bound.close()
        gate.close()
        raise AddressUnavailable(_why_not(address, error)) from error
    return bound, peers


def _why_not(address: str, error: zmq.ZMQError) -> str:
    if error.errno == errno.EADDRINUSE:
        return (
            f"{address} is in use: another process is listening there. Stop it, or choose another address "
            f"(serve.address=… for a policy server, robot.address=… for a robot host; port 0 takes any free one)."
        )
    if error.errno == errno.EACCES:
        return f"{address} may not be bound by this user: {error}. Choose a port above 1023."
    return f"{address} cannot be bound: {error}. Write it as tcp://INTERFACE:PORT, for example tcp://127.0.0.1:5555."
