"""openpi's own client drives our server: lockstep over a websocket, beside our own clients in the same batches."""

from __future__ import annotations

import errno
import socket
import sys
import threading
import time
import types
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import msgpack
import numpy as np
import pytest
import websockets.sync.client
from hypothesis import given
from hypothesis import strategies as st
from openpi_client.websocket_client_policy import WebsocketClientPolicy
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus

from forehand import Prediction
from forehand.errors import ConfigurationError
from forehand.wire import AddressUnavailable, PolicyClient, ProtocolError
from forehand.wire.adapters import KeyMap
from forehand_plugins.adapters.openpi import OpenPiAdapter, decode

FIXTURES = Path(__file__).parents[2] / "data" / "adapters"


@pytest.fixture
def keys():
    cameras = {"static": "observation/image", "wrist": "observation/wrist_image"}
    return KeyMap(cameras, ["observation/state"], "prompt")


@pytest.fixture
def connect(keys, open_adapter):
    """A client of theirs, through an adapter in front of a server."""
    clients = []

    def client(server, **options):
        adapter = open_adapter(OpenPiAdapter, server, options.pop("keys", keys), **options)
        return adapter, another(adapter)

    def another(adapter, api_key=None):
        clients.append(WebsocketClientPolicy("127.0.0.1", adapter.port, api_key))
        return clients[-1]

    client.another = another
    yield client
    for one in clients:
        one._ws.close()


@pytest.fixture
def observe(sense):
    """An observation as their LIBERO example sends it."""

    def make(number=0, prompt="push the block"):
        seen = sense(number)
        return {
            "observation/image": seen.images["static"],
            "observation/wrist_image": seen.images["wrist"],
            "observation/state": seen.state,
            "prompt": prompt,
        }

    return make


def test_their_client_gets_actions(serve, connect, observe, contract):
    _, client = connect(serve())
    assert client.get_server_metadata()["contract"]["rate"] == contract.rate
    for number in range(3):
        asked = observe(number)
        answer = client.infer(asked)
        state = asked["observation/state"]
        np.testing.assert_array_equal(answer["actions"], [state, -state])
        assert answer["actions"].dtype == np.float32
        np.testing.assert_array_equal(answer["state"], state)
        assert answer["policy_timing"]["infer_ms"] <= answer["server_timing"]["infer_ms"]
        assert ("prev_total_ms" in answer["server_timing"]) == (number > 0)


def test_the_policy_sees_their_pictures(serve, connect, observe, sense):
    seen = []

    def look(sessions, observations):
        seen.extend(observations)
        return [Prediction(np.zeros((1, 7), np.float32)) for _ in observations]

    _, client = connect(serve(look))
    client.infer(observe(4))
    for name, image in sense(4).images.items():
        np.testing.assert_array_equal(seen[0].images[name], image)
    np.testing.assert_array_equal(seen[0].state, sense(4).state)


def test_a_connection_is_a_session_and_another_prompt_starts_anew(serve, connect, observe):
    sessions_seen = []

    def count(sessions, observations):
        for session in sessions:
            session.steps = getattr(session, "steps", 0) + 1
            sessions_seen.append((id(session), session.instruction))
        return [Prediction(np.full((1, 7), s.steps, np.float32)) for s in sessions]

    server = serve(count)
    adapter, client = connect(server)
    other = connect.another(adapter)
    assert client.infer(observe())["actions"][0, 0] == 1
    assert client.infer(observe())["actions"][0, 0] == 2
    assert other.infer(observe())["actions"][0, 0] == 1
    client.infer(observe(prompt="lift it"))
    identities, instructions = zip(*sessions_seen, strict=True)
    assert len(set(identities)) == 2
    assert instructions == ("push the block",) * 3 + ("lift it",)
    client._ws.close()
    wait_until(lambda: len(server._sessions) == 1)


def test_a_slow_answer_keeps_nobody_waiting(serve, connect, observe, sense, contract):
    """Who shares the policy's batches waits for the policy alone; the socket and the health check stay free."""
    entered, release = threading.Event(), threading.Event()

    def slow(sessions, observations):
        entered.set()
        assert release.wait(30)
        return [Prediction(np.zeros((1, 7), np.float32)) for _ in observations]

    server = serve(slow)
    adapter, first = connect(server)
    others = [connect.another(adapter) for _ in range(3)]
    ours = PolicyClient(server.address, timeout=30)
    session = ours.open("push", contract)
    release.set()
    for client in (first, *others):
        client.infer(observe())  # opens its session
    server._policy.batches.clear()
    entered.clear()
    release.clear()
    with ThreadPoolExecutor() as pool:
        waiting = [pool.submit(first.infer, observe(0))]
        assert entered.wait(30)
        waiting += [pool.submit(other.infer, observe(i)) for i, other in enumerate(others)]
        waiting.append(pool.submit(session.step, sense(9)))
        assert urllib.request.urlopen(f"http://127.0.0.1:{adapter.port}/healthz").read() == b"OK\n"
        assert connect.another(adapter).get_server_metadata()
        wait_until(lambda: len(server._batcher._queue._jobs) == 4)
        release.set()
        for answer in waiting:
            answer.result(30)
    assert server._policy.batches == [1, 4]
    ours.close()


def test_an_error_comes_as_text_and_ends_the_connection(serve, connect, observe):
    adapter, client = connect(serve())
    with pytest.raises(RuntimeError, match=r"'observation/image' is 10 × 10.*'static' is 24 × 32"):
        client.infer(observe() | {"observation/image": np.zeros((10, 10, 3), np.uint8)})
    with pytest.raises(ConnectionClosed) as closed:
        client.infer(observe())
    assert closed.value.rcvd.code == 1011
    assert connect.another(adapter).infer(observe())["actions"].shape == (2, 7)


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        ({"observation/image": np.zeros((24, 32, 3))}, r"must be \(H, W, 3\) uint8, but is float64"),
        ({"observation/state": np.zeros(3)}, r"3 numbers.*policy's is 7: pose 6, gripper 1"),
        ({"prompt": 5}, "'prompt' must be one sentence"),
        ({"prompt": None}, "'prompt' must be one sentence"),
    ],
)
def test_what_does_not_fit_is_named(serve, connect, observe, damage, says):
    _, client = connect(serve())
    with pytest.raises(RuntimeError, match=says):
        client.infer(observe() | damage)


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e300])
def test_a_state_that_is_not_finite_is_refused(serve, connect, observe, value):
    server = serve()
    _, client = connect(server)
    with pytest.raises(
        RuntimeError, match=r"^Error in inference server:\n?NotFinite: .*element 0 of 'pose' is (nan|inf)"
    ):
        client.infer(observe() | {"observation/state": np.full(7, value)})
    assert server._policy.batches == []


def test_an_answer_that_is_not_finite_is_an_error(serve, connect, observe):
    _, client = connect(serve(lambda sessions, observations: [Prediction(np.full((1, 7), np.nan, np.float32))]))
    with pytest.raises(RuntimeError, match="NotFinite: The policy's answer is not finite: element 0 of 'pose'"):
        client.infer(observe())


def test_a_missing_key_is_named_with_those_that_came(serve, connect, observe):
    _, client = connect(serve())
    asked = observe()
    del asked["observation/wrist_image"]
    with pytest.raises(RuntimeError, match=r"lacks 'observation/wrist_image'.*camera 'wrist'.*'observation/image'"):
        client.infer(asked)


def test_pictures_of_another_size_are_scaled_if_the_door_may(serve, connect, observe, keys):
    resizing = KeyMap(keys.cameras, keys.state, keys.instruction, resize=True)
    _, client = connect(serve(), keys=resizing)
    large = {"observation/image": np.zeros((224, 224, 3), np.uint8)}
    assert client.infer(observe() | large)["actions"].shape == (2, 7)


def test_the_key_is_asked_for(serve, open_adapter, keys, connect):
    adapter = open_adapter(OpenPiAdapter, serve(), keys, api_key="secret")
    assert connect.another(adapter, "secret").get_server_metadata()
    for wrong in (None, "guess"):
        with pytest.raises(InvalidStatus, match="401"):
            connect.another(adapter, wrong)


def test_without_a_key_strangers_cannot_reach_it(serve, keys):
    with pytest.raises(ConfigurationError, match=r"everyone.*adapters\.openpi\.api_key"):
        OpenPiAdapter(serve(), "0.0.0.0", 0, keys)
    assert OpenPiAdapter(serve(), "0.0.0.0", 0, keys, api_key="secret").authenticate("secret")


def test_a_port_that_is_taken_says_so(serve, open_adapter, keys):
    adapter = open_adapter(OpenPiAdapter, serve(), keys)
    with pytest.raises(AddressUnavailable, match=rf"127\.0\.0\.1:{adapter.port}.*adapters\.openpi\.port"):
        open_adapter(OpenPiAdapter, serve(), keys, port=adapter.port)


def test_a_policy_that_hangs_is_an_error_in_time(serve, connect, observe):
    release = threading.Event()

    def stuck(sessions, observations):
        release.wait(30)
        return [Prediction(np.zeros((1, 7), np.float32)) for _ in observations]

    _, client = connect(serve(stuck), timeout=0.3)
    with pytest.raises(RuntimeError, match=r"was not answered within 0\.3 s"):
        client.infer(observe())
    release.set()


ARRAY = {b"__ndarray__": True, b"data": b"\0" * 4, b"dtype": "<f4", b"shape": [1]}


@pytest.mark.parametrize(
    "nonsense",
    [
        b"",
        b"\xc1",
        msgpack.packb([1, 2]),
        msgpack.packb({"x": ARRAY | {b"shape": [2**40]}}),
        msgpack.packb({"x": ARRAY | {b"shape": [-1]}}),
        msgpack.packb({"x": ARRAY | {b"dtype": "O"}}),
        msgpack.packb({"x": ARRAY | {b"dtype": "c8"}}),
        "text",
    ],
)
def test_nonsense_is_refused_and_harms_nobody_else(serve, connect, observe, nonsense):
    adapter, client = connect(serve())
    with websockets.sync.client.connect(f"ws://127.0.0.1:{adapter.port}/any/path") as stranger:
        stranger.recv()
        stranger.send(nonsense)
        assert stranger.recv(timeout=20).startswith("ProtocolError")
        with pytest.raises(ConnectionClosed):
            stranger.recv(timeout=20)
    assert client.infer(observe())["actions"].shape == (2, 7)


def test_every_kind_of_number_of_theirs_is_understood(serve, connect, observe):
    _, client = connect(serve())
    asked = observe()
    asked["observation/state"] = asked["observation/state"].astype(np.float64)
    asked |= {"seed": np.float32(3.5), "flag": np.bool_(True), "prompt": np.str_("push")}
    np.testing.assert_array_equal(client.infer(asked)["actions"][0], asked["observation/state"].astype(np.float32))


def test_a_session_that_expired_is_opened_again(serve, connect, observe):
    server = serve(session_timeout=0.2)
    _, client = connect(server)
    client.infer(observe())
    wait_until(lambda: not server._sessions)
    assert client.infer(observe())["actions"].shape == (2, 7)


@given(st.binary(max_size=400), st.integers(0, 3000), st.integers(0, 255))
def test_the_decoder_knows_two_answers(noise, place, byte):
    """A map, or a ProtocolError: whatever comes, and however an observation is damaged."""
    whole = (FIXTURES / "openpi_infer.request").read_bytes()
    for message in (noise, whole[:place], whole[:place] + bytes([byte]) + whole[place + 1 :]):
        with suppress(ProtocolError):
            assert isinstance(decode(message), dict)


def test_the_bytes_of_their_clients_are_answered_with_the_bytes_they_expect(serve, open_adapter, keys):
    """A request and a reply as they go over the wire, laid down byte by byte from the table of their protocol."""
    adapter = open_adapter(OpenPiAdapter, serve(), keys)
    with websockets.sync.client.connect(f"ws://127.0.0.1:{adapter.port}") as client:
        client.recv(timeout=20)
        client.send((FIXTURES / "openpi_infer.request").read_bytes())
        assert client.recv(timeout=20).startswith((FIXTURES / "openpi_infer.reply").read_bytes())


def wait_until(condition, seconds=20):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_door_without_descriptors_recovers_and_says_so(serve, connect, observe, monkeypatch, caplog):
    adapter, client = connect(serve())
    accept, failures = socket.socket.accept, [errno.EMFILE, errno.ENFILE, errno.ECONNABORTED]

    def failing(self):
        if failures:
            raise OSError(failures.pop(), "no descriptors")
        return accept(self)

    monkeypatch.setattr(socket.socket, "accept", failing)
    assert connect.another(adapter).infer(observe())["actions"].shape == (2, 7)
    assert not failures
    assert caplog.text.count("no connection can be accepted") == 1
    assert client.infer(observe())["actions"].shape == (2, 7)


def test_whoever_shows_no_key_makes_room_for_those_who_do(serve, open_adapter, keys, connect, observe):
    adapter = open_adapter(OpenPiAdapter, serve(), keys, api_key="secret")
    adapter._listener.most = 3
    client = connect.another(adapter, "secret")
    silent = [socket.create_connection(("127.0.0.1", adapter.port), timeout=20) for _ in range(10)]
    another = connect.another(adapter, "secret")
    for connection in silent[:8]:
        assert connection.recv(64) == b""  # at once, not after the time in which a key is to be shown
    for one in (client, another):
        assert one.infer(observe())["actions"].shape == (2, 7)
    for connection in silent:
        connection.close()


def test_where_everybody_is_welcome_one_more_is_not(serve, connect, observe):
    adapter, client = connect(serve())
    adapter._listener.most = 1
    with pytest.raises((ConnectionClosed, OSError, InvalidHandshake, EOFError)):
        websockets.sync.client.connect(f"ws://127.0.0.1:{adapter.port}", open_timeout=20)
    assert client.infer(observe())["actions"].shape == (2, 7)


FEW_DESCRIPTORS = """
import resource, sys
import numpy as np
from forehand import Contract, Policy, Prediction
from forehand.wire import PolicyServer
from forehand.wire.adapters import KeyMap
from forehand_plugins.adapters.gr00t import Gr00tAdapter
from forehand_plugins.adapters.openpi import OpenPiAdapter

class Instant(Policy):
    contract = Contract.from_json(sys.argv[1])
    def step(self, sessions, observations, *, forecast=False):
        return [Prediction(o.state[None]) for o in observations]

resource.setrlimit(resource.RLIMIT_NOFILE, (100, 100))
with PolicyServer(Instant(), "tcp://127.0.0.1:0").running() as server:
    openpi = OpenPiAdapter(server, "127.0.0.1", 0, KeyMap({"static": "s", "wrist": "w"}, ["state"], "prompt"))
    gr00t = Gr00tAdapter(server, "127.0.0.1", 0, openpi.key_map)
    openpi.open()
    gr00t.open()
    print(server.address, openpi.port, gr00t.port, flush=True)
    sys.stdin.readline()
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="there is no limit of open files")
def test_connections_in_hundreds_leave_a_process_with_few_descriptors_alive(process, contract, sense, gr00t_client):
    child, line = process(FEW_DESCRIPTORS, contract.to_json())
    address, openpi, gr00t = line.split()
    for _ in range(2):
        crowd = []
        for port in (openpi, gr00t, address.rpartition(":")[2]):
            for _ in range(100):
                with suppress(OSError):
                    crowd.append(socket.create_connection(("127.0.0.1", int(port)), timeout=20))
        with PolicyClient(address, timeout=30) as ours:  # beside the crowd
            assert ours.open("push", contract).step(sense()).actions.shape == (1, 7)
        client = WebsocketClientPolicy("127.0.0.1", int(openpi))
        seen = sense()
        asked = {"s": seen.images["static"], "w": seen.images["wrist"], "state": seen.state, "prompt": "push"}
        assert client.infer(asked)["actions"].shape == (1, 7)
        client._ws.close()
        other = gr00t_client(types.SimpleNamespace(port=gr00t))
        assert other.call("ping")["status"] == "ok"
        other.socket.close()
        for connection in crowd:
            connection.close()
    child.stdin.write("\n")
    child.stdin.flush()
    assert child.wait(30) == 0


@pytest.mark.parametrize("array", [{b"nd": True, b"data": b""}, {"__ndarray_class__": True}])
def test_another_dialect_of_arrays_is_told_what_to_send(serve, connect, observe, array):
    _, client = connect(serve())
    with pytest.raises(RuntimeError, match="as openpi's clients send them"):
        client.infer(observe() | {"observation/image": array})


def test_it_listens_on_ipv6(serve, open_adapter, keys):
    try:
        adapter = open_adapter(OpenPiAdapter, serve(), keys, host="[::1]")
    except AddressUnavailable:
        pytest.skip("this computer has no IPv6")
    with websockets.sync.client.connect(adapter.address, open_timeout=20) as client:
        assert client.recv(timeout=20)
