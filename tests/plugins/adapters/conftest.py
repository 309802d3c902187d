"""Doors in front of a running policy server, and a client of GR00T's, written from the table of their protocol."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing

import msgpack
import numpy as np
import pytest
import zmq

from forehand.wire.adapters import ProtocolAdapter

from ...core.wire.conftest import contract, process, sense, serve  # noqa: F401  (fixtures)


@pytest.fixture
def open_adapter() -> Iterator[Callable[..., ProtocolAdapter]]:
    """Open an adapter of a class in front of a server; it is closed before the server stops."""
    with ExitStack() as stack:

        def start(kind, server, keys, host="127.0.0.1", port=0, **options) -> ProtocolAdapter:
            adapter = kind(server, host, port, keys, **options)
            adapter.open()
            return stack.enter_context(closing(adapter))

        yield start


def pack(value):
    def default(array):
        written = io.BytesIO()
        np.save(written, array, allow_pickle=False)
        return {"__ndarray_class__": True, "as_npy": written.getvalue()}

    return msgpack.packb(value, default=default)


def unpack(message):
    def hook(found):
        return np.load(io.BytesIO(found["as_npy"])) if "__ndarray_class__" in found else found

    return msgpack.unpackb(message, object_hook=hook)


class Gr00tClient:
    """One REQ socket; errors are raised as RuntimeError."""

    def __init__(self, adapter, token=None):
        self.token = token
        self.socket = zmq.Context.instance().socket(zmq.REQ)
        self.socket.linger = 0
        self.socket.rcvtimeo = 20_000
        self.socket.connect(f"tcp://127.0.0.1:{adapter.port}")

    def call(self, endpoint, data=None):
        request = {"endpoint": endpoint}
        if data is not None:
            request["data"] = data
        if self.token:
            request["api_token"] = self.token
        return self.exchange(pack(request))

    def exchange(self, message):
        self.socket.send(message)
        reply = unpack(self.socket.recv())
        if isinstance(reply, dict) and "error" in reply:
            raise RuntimeError(reply["error"])
        return reply

    def act(self, observation):
        """In the dialect of N1.6."""
        return self.call("get_action", {"observation": observation, "options": None})


@pytest.fixture
def gr00t_client():
    return Gr00tClient
