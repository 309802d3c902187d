"""A door of each kind in front of a running policy server."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing

import pytest

from forehand.wire.doors import Door, Keys


@pytest.fixture
def keys() -> Keys:
    """What the doors of these tests call the cameras and the state of the tests' contract."""
    return Keys({"static": "image", "wrist": "wrist_image"}, ["pose", "gripper"], "prompt")


@pytest.fixture
def open_door() -> Iterator[Callable[..., Door]]:
    """Open a door of a class in front of a server; it is closed before the server stops."""
    with ExitStack() as stack:

        def start(kind, server, keys, host="127.0.0.1", port=0, **options) -> Door:
            door = kind(server, host, port, keys, **options)
            door.open()
            return stack.enter_context(closing(door))

        yield start
