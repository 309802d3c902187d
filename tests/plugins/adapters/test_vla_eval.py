"""vla-eval's own client drives our server, as its benchmarks do."""

from __future__ import annotations

import asyncio
import urllib.request
from contextlib import asynccontextmanager

import numpy as np
import pytest
import websockets.sync.client
from vla_eval.connection import Connection
from vla_eval.protocol import Message, MessageType, pack_message, unpack_message
from vla_eval.protocol.numpy_codec import set_image_format

from forehand import Prediction
from forehand.errors import ConfigurationError
from forehand.wire.adapters import KeyMap
from forehand_plugins.adapters.vla_eval import VlaEvalAdapter

KEYS = KeyMap({"static": "images/agentview", "wrist": "images/wrist"}, ["states"], "task_description")


@asynccontextmanager
async def connected(adapter):
    async with Connection(adapter.address, timeout=30) as client:
        if not client.server_info:
            await client.connect(benchmark="test")
        yield client


def observation(seen, sentence="push the block"):
    """As its LIBERO benchmark makes it."""
    images = {"agentview": seen.images["static"], "wrist": seen.images["wrist"]}
    return {"images": images, "states": seen.state, "task_description": sentence}


@pytest.mark.parametrize("pictures", ["png", "raw"])
def test_an_observation_is_answered_with_one_action(serve, open_adapter, sense, contract, pictures):
    seen, begun = [], []

    def look(sessions, observations):
        seen.extend(observations)
        begun.extend(sessions)
        return [Prediction(np.stack([o.state, -o.state])) for o in observations]

    adapter = open_adapter(VlaEvalAdapter, serve(look), KEYS)

    async def drive():
        async with connected(adapter) as client:
            assert client.server_info["contract"]["rate"] == contract.rate
            assert client.server_info["protocol_version"] == 1
            for _ in range(2):
                await client.start_episode({"task": {"name": "push"}})
                for number in range(3):
                    action = await client.act(observation(sense(number)))
                    np.testing.assert_array_equal(action["actions"], sense(number).state)
                await client.end_episode({"success": True})

    set_image_format(pictures)
    try:
        asyncio.run(drive())
    finally:
        set_image_format("png")
    for name, image in sense(2).images.items():
        np.testing.assert_array_equal(seen[2].images[name], image)
    assert begun[0] is begun[2]
    assert begun[0] is not begun[3], "an episode begins without a history"


def test_chunks_are_carried_out_as_configured(serve, open_adapter, sense):
    def three(sessions, observations):
        return [Prediction(np.outer([1, 2, 4], np.ones(7)).astype(np.float32)) for _ in observations]

    server = serve(three)

    async def drive(adapter):
        async with connected(adapter) as client:
            await client.start_episode({})
            return [float((await client.act(observation(sense(i))))["actions"][0]) for i in range(4)]

    for chunking, due in (
        ({"name": "receding_horizon", "steps": 2}, [1, 2, 1, 2]),
        ({"name": "temporal_ensemble", "decay": 0.0}, [1, 1.5, 7 / 3, 7 / 3]),
    ):
        adapter = open_adapter(VlaEvalAdapter, server, KEYS, chunking=chunking)
        assert asyncio.run(drive(adapter)) == pytest.approx(due)
    with pytest.raises(ConfigurationError, match="asynchronously"):
        open_adapter(VlaEvalAdapter, server, KEYS, chunking={"name": "asynchronous"})


def test_what_cannot_be_answered_is_said_and_the_episode_may_go_on(serve, open_adapter, sense):
    adapter = open_adapter(VlaEvalAdapter, serve(), KEYS)

    async def drive():
        async with connected(adapter) as client:
            await client.start_episode({})
            lacking = observation(sense(0))
            del lacking["images"]["wrist"]
            with pytest.raises(RuntimeError, match=r"lacks 'images/wrist', which the adapter takes for camera 'wrist'"):
                await client.act(lacking)
            assert (await client.act(observation(sense(0))))["actions"].shape == (7,)

    asyncio.run(drive())


@pytest.mark.parametrize("message", ["text", b"\x00", pack_message(Message(MessageType.HELLO, {}, timestamp=0.0))[:-3]])
def test_what_is_no_message_ends_the_connection_and_says_so(serve, open_adapter, message):
    adapter = open_adapter(VlaEvalAdapter, serve(), KEYS)
    with websockets.sync.client.connect(adapter.address) as client:
        client.send(message)
        answer = unpack_message(client.recv())
        assert answer.type == MessageType.ERROR
        assert "ProtocolError" in answer.payload["error"]


def test_health_and_key(serve, open_adapter):
    adapter = open_adapter(VlaEvalAdapter, serve(), KEYS, api_key="secret")
    with urllib.request.urlopen(f"http://127.0.0.1:{adapter.port}/health") as answer:
        assert answer.read() == b'{"status": "ok"}\n'
    with pytest.raises(Exception, match="401"):
        websockets.sync.client.connect(adapter.address)
    with websockets.sync.client.connect(adapter.address, additional_headers={"Authorization": "Bearer secret"}) as client:
        client.send(pack_message(Message(MessageType.HELLO, {}, seq=5)))
        assert unpack_message(client.recv()).seq == 5
