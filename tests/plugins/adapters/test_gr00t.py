"""GR00T's clients of both dialects drive our server, in the same batches as everybody."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import zmq
from hypothesis import given
from hypothesis import strategies as st

from forehand import Prediction
from forehand.errors import ConfigurationError
from forehand.wire import AddressUnavailable, PolicyClient, ProtocolError
from forehand.wire.adapters import KeyMap
from forehand_plugins.adapters.gr00t import Gr00tAdapter, decode

from .conftest import pack, unpack

FIXTURES = Path(__file__).parents[2] / "data" / "adapters"
SENTENCE = "annotation.human.action.task_description"


@pytest.fixture
def keys():
    cameras = {"static": "video.front", "wrist": "video.wrist"}
    return KeyMap(cameras, ["state.pose", "state.gripper"], SENTENCE)


@pytest.fixture
def connect(keys, open_adapter, gr00t_client):
    """A client of theirs, through an adapter in front of a server."""
    clients = []

    def client(server, **options):
        return another(open_adapter(Gr00tAdapter, server, options.pop("keys", keys), **options))

    def another(adapter, token=None):
        clients.append(gr00t_client(adapter, token))
        return clients[-1]

    client.another = another
    yield client
    for one in clients:
        one.socket.close()


@pytest.fixture
def nested(sense):
    """An observation in the dialect of N1.6: one row for each number, with an older frame before the newest."""

    def make(*numbers, prompt="push the block"):
        seen = [sense(number) for number in numbers]
        frames = lambda name: np.stack([[np.zeros_like(o.images[name]), o.images[name]] for o in seen])  # noqa: E731
        state = np.stack([o.state[None] for o in seen])
        return {
            "video": {"front": frames("static"), "wrist": frames("wrist")},
            "state": {"pose": state[..., :6], "gripper": state[..., 6:]},
            "language": {"task": [[prompt]] * len(numbers)},
        }

    return make


@pytest.fixture
def flat(sense):
    """An observation in the dialect of N1.5, without a batch."""

    def make(number=0, prompt="push the block"):
        seen = sense(number)
        return {
            "video.front": seen.images["static"][None],
            "video.wrist": seen.images["wrist"][None],
            "state.pose": seen.state[None, :6].astype(np.float64),
            "state.gripper": seen.state[None, 6:].astype(np.float64),
            SENTENCE: [prompt],
        }

    return make


def test_a_client_of_n1_6_gets_actions(serve, connect, nested, sense):
    client = connect(serve())
    actions, info = client.act(nested(3))
    state = sense(3).state
    assert info == {}
    assert actions.keys() == {"pose", "gripper"}
    np.testing.assert_array_equal(actions["pose"], [[state[:6], -state[:6]]])
    np.testing.assert_array_equal(actions["gripper"], [[state[6:], -state[6:]]])
    assert actions["pose"].dtype == np.float32


def test_a_client_of_n1_5_gets_actions(serve, connect, flat, sense):
    client = connect(serve())
    state = sense(3).state
    actions = client.call("get_action", flat(3))
    assert actions.keys() == {"action.pose", "action.gripper"}
    np.testing.assert_array_equal(actions["action.pose"], [state[:6], -state[:6]])
    batched = {key: [value] if key == SENTENCE else value[None] for key, value in flat(3).items()}
    np.testing.assert_array_equal(client.call("get_action", batched)["action.gripper"], [[state[6:], -state[6:]]])


def test_the_newest_picture_is_what_the_policy_sees(serve, connect, nested, sense):
    seen = []

    def look(sessions, observations):
        seen.extend(observations)
        return [Prediction(np.zeros((1, 7), np.float32)) for _ in observations]

    connect(serve(look)).act(nested(4))
    for name, image in sense(4).images.items():
        np.testing.assert_array_equal(seen[0].images[name], image)


def test_the_parts_of_an_action_have_the_names_of_the_mapping(serve, connect, keys, nested):
    mapping = {"x": 1, "y": 1, "z": 1, "rest": 4}
    client = connect(serve(), keys=KeyMap(keys.cameras, keys.state, SENTENCE, mapping))
    actions, _ = client.act(nested(1))
    assert {key: part.shape for key, part in actions.items()} == {key: (1, 2, size) for key, size in mapping.items()}
    wrong = connect(serve(), keys=KeyMap(keys.cameras, keys.state, SENTENCE, {"x": 1}))
    with pytest.raises(RuntimeError, match="1 numbers, but the policy commands 7: pose 6, gripper 1"):
        wrong.act(nested(1))


def count(sessions, observations):
    for session in sessions:
        session.steps = getattr(session, "steps", 0) + 1
    return [Prediction(np.full((1, 7), s.steps, np.float32)) for s in sessions]


def test_a_socket_is_a_session_until_it_resets(serve, open_adapter, connect, keys, nested):
    adapter = open_adapter(Gr00tAdapter, serve(count), keys)
    client, other = connect.another(adapter), connect.another(adapter)
    steps = lambda who, **options: who.act(nested(1, **options))[0]["pose"][0, 0, 0]  # noqa: E731
    assert [steps(client), steps(client), steps(other)] == [1, 2, 1]
    assert client.call("reset", {"options": None}) == {}
    assert [steps(client), steps(other)] == [1, 2]


def test_rows_of_a_batch_are_sessions_and_computed_together(serve, connect, nested):
    server = serve(count)
    client = connect(server)
    client.act(nested(1, 2, 3))
    server._policy.batches.clear()
    actions, _ = client.act(nested(1, 2, 3))
    assert actions["pose"].shape == (3, 1, 6)
    np.testing.assert_array_equal(actions["pose"][:, 0, 0], [2, 2, 2])
    assert sum(server._policy.batches) == 3


def test_a_slow_answer_keeps_nobody_waiting(serve, open_adapter, connect, keys, nested):
    entered, release = threading.Event(), threading.Event()

    def slow(sessions, observations):
        entered.set()
        assert release.wait(30)
        return [Prediction(np.zeros((1, 7), np.float32)) for _ in observations]

    server = serve(slow)
    adapter = open_adapter(Gr00tAdapter, server, keys)
    clients = [connect.another(adapter) for _ in range(4)]
    release.set()
    for client in clients:
        client.act(nested(0))  # opens its session
    server._policy.batches.clear()
    entered.clear()
    release.clear()
    with ThreadPoolExecutor() as pool:
        waiting = [pool.submit(clients[0].act, nested(0))]
        assert entered.wait(30)
        waiting += [pool.submit(client.act, nested(0)) for client in clients[1:]]
        assert connect.another(adapter).call("ping") == {"status": "ok", "message": "Server is running"}
        until = time.monotonic() + 20
        while len(server._batcher._queue._jobs) < 3:
            assert time.monotonic() < until
            time.sleep(0.01)
        release.set()
        for answer in waiting:
            answer.result(30)
    assert server._policy.batches == [1, 3]


def test_what_the_server_wants_can_be_asked(serve, connect):
    config = connect(serve()).call("get_modality_config")
    assert {kind: said["as_json"]["modality_keys"] for kind, said in config.items()} == {
        "video": ["front", "wrist"],
        "state": ["pose", "gripper"],
        "action": ["pose", "gripper"],
        "language": [SENTENCE],
    }
    assert all(said["__ModalityConfig_class__"] and said["as_json"]["delta_indices"] == [0] for said in config.values())


def test_the_token_is_asked_for(serve, open_adapter, connect, keys):
    adapter = open_adapter(Gr00tAdapter, serve(), keys, api_key="secret")
    assert connect.another(adapter, "secret").call("ping")["status"] == "ok"
    for wrong in (None, "guess"):
        with pytest.raises(RuntimeError, match=r"^Unauthorized: Invalid API token$"):
            connect.another(adapter, wrong).call("ping")


def test_without_a_token_strangers_cannot_reach_it(serve, keys):
    with pytest.raises(ConfigurationError, match=r"everyone.*adapters\.gr00t\.api_key"):
        Gr00tAdapter(serve(), "0.0.0.0", 0, keys)


def test_a_port_that_is_taken_says_so(serve, open_adapter, keys):
    adapter = open_adapter(Gr00tAdapter, serve(), keys)
    with pytest.raises(AddressUnavailable, match=rf"127\.0\.0\.1:{adapter.port}.*adapters\.gr00t\.port"):
        open_adapter(Gr00tAdapter, serve(), keys, port=adapter.port)


def test_a_client_cannot_stop_what_others_use(serve, connect):
    client = connect(serve())
    with pytest.raises(RuntimeError, match="not stopped by a client"):
        client.call("kill")
    assert client.call("ping")["status"] == "ok"


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        ({"video": {"front": np.zeros((1, 1, 9, 9, 3), np.uint8)}}, r"'video\.front' is 9 × 9.*'static' is 24 × 32"),
        ({"video": {}}, r"lacks 'video\.front'"),
        ({"state": {"pose": np.zeros((1, 1, 3), np.float32)}}, r"lacks 'state\.gripper'"),
        ({"state": {"pose": np.zeros((2, 1, 6)), "gripper": np.zeros((1, 1, 1))}}, "as many rows"),
        ({"state": {"pose": np.zeros(6), "gripper": np.zeros(1)}}, r"Pictures must be \(B, T, H, W, 3\)"),
        ({"state": {"pose": np.zeros((1, 0, 6)), "gripper": np.zeros((1, 0, 1))}}, "at least one frame"),
        ({"language": {}}, "must have one sentence, and has none"),
        ({"language": {"a": [["x"]], "b": [["y"]]}}, r"one sentence, and has \['a', 'b'\]"),
        ({"language": None}, "the maps video, state and language"),
    ],
)
def test_what_does_not_fit_is_named_and_the_socket_goes_on(serve, connect, nested, damage, says):
    client = connect(serve())
    with pytest.raises(RuntimeError, match=says):
        client.act(nested(1) | damage)
    assert client.act(nested(1))[0]["pose"].shape == (1, 2, 6)


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e300])
def test_a_state_that_is_not_finite_is_refused_and_the_socket_goes_on(serve, connect, nested, value):
    server = serve()
    client = connect(server)
    bad = nested(1)
    bad["state"]["gripper"] = np.full((1, 1, 1), value)
    with pytest.raises(RuntimeError, match=r"^NotFinite: .*element 0 of 'gripper' is (nan|inf)"):
        client.act(bad)
    assert server._policy.batches == []
    assert client.act(nested(1))[0]["pose"].shape == (1, 2, 6)


def test_an_answer_that_is_not_finite_is_an_error(serve, connect, nested):
    client = connect(serve(lambda sessions, observations: [Prediction(np.full((1, 7), np.nan, np.float32))]))
    with pytest.raises(RuntimeError, match=r"^NotFinite: The policy's answer is not finite: element 0 of 'pose'"):
        client.act(nested(1))


@pytest.mark.parametrize("name", ["n1_5_get_action", "n1_6_get_action", "ping", "reset", "unknown_endpoint", "pickled"])
def test_the_bytes_of_their_clients_are_answered_with_the_bytes_they_expect(serve, connect, name):
    """Requests and replies as they go over the wire, laid down byte by byte from the table of their protocol."""
    client = connect(serve())
    client.socket.send((FIXTURES / f"gr00t_{name}.request").read_bytes())
    assert client.socket.recv() == (FIXTURES / f"gr00t_{name}.reply").read_bytes()


@given(st.binary(max_size=400), st.integers(0, 4000), st.integers(0, 255))
def test_the_decoder_knows_two_answers(noise, place, byte):
    """A map, or a ProtocolError: whatever comes, and however a request is damaged."""
    whole = (FIXTURES / "gr00t_n1_6_get_action.request").read_bytes()
    for message in (noise, whole[:place], whole[:place] + bytes([byte]) + whole[place + 1 :]):
        with suppress(ProtocolError):
            assert isinstance(decode(message), dict)


@pytest.mark.parametrize("nonsense", [b"", b"\xc1", b"\x93\x01\x02\x03", b"\x00" * 100])
def test_nonsense_is_owed_a_reply_too(serve, connect, nonsense):
    client = connect(serve())
    with pytest.raises(RuntimeError, match="ProtocolError"):
        client.exchange(nonsense)
    assert client.call("ping")["status"] == "ok"


def test_silent_clients_are_forgotten_with_their_sessions(serve, open_adapter, connect, keys, nested):
    server = serve()
    adapter = open_adapter(Gr00tAdapter, server, keys)
    connect.another(adapter).act(nested(1))
    assert len(server._sessions) == 1
    adapter.silence = 0.0
    until = time.monotonic() + 20
    while server._sessions or adapter._clients:
        assert time.monotonic() < until
        time.sleep(0.01)


def wait_until(condition, seconds=20):
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.01)


def test_clients_that_leave_give_their_sessions_back(serve, open_adapter, connect, keys, nested):
    server = serve(max_sessions=4)
    adapter = open_adapter(Gr00tAdapter, server, keys)
    for _ in range(3):
        leaving = [connect.another(adapter) for _ in range(3)]
        for client in leaving:
            client.act(nested(1))
        assert len(server._sessions) == 3
        with pytest.raises(RuntimeError, match=r"Busy: .* serves 3 sessions of other protocols already"):
            connect.another(adapter).act(nested(1))
        with PolicyClient(server.address) as ours:
            ours.open("push", server._policy.contract).close()  # one in four is kept for our own
        for client in leaving:
            client.socket.close()
        wait_until(lambda: not server._sessions)


def test_without_the_token_nobody_takes_a_place(serve, open_adapter, connect, keys, nested, monkeypatch):
    monkeypatch.setattr("forehand_plugins.adapters.gr00t.MAX_CLIENTS", 1)
    server = serve()
    adapter = open_adapter(Gr00tAdapter, server, keys, api_key="secret")
    for _ in range(5):
        with pytest.raises(RuntimeError, match="Unauthorized"):
            connect.another(adapter, "guess").act(nested(1))
    assert not adapter._clients
    assert not server._sessions
    assert connect.another(adapter, "secret").act(nested(1))


def test_who_was_silent_for_longest_makes_room(serve, open_adapter, connect, keys, nested, monkeypatch):
    monkeypatch.setattr("forehand_plugins.adapters.gr00t.MAX_CLIENTS", 2)
    server = serve(count)
    adapter = open_adapter(Gr00tAdapter, server, keys)
    first, second, third = (connect.another(adapter) for _ in range(3))
    steps = lambda who: who.act(nested(1))[0]["pose"][0, 0, 0]  # noqa: E731
    assert [steps(first), steps(second), steps(first), steps(third)] == [1, 1, 2, 1]
    assert [steps(first), steps(second)] == [3, 1]  # the second made room, and begins anew
    wait_until(lambda: len(server._sessions) == 2)


def test_requests_of_one_client_do_not_queue_up_and_its_neighbours_are_answered(
    serve, open_adapter, connect, keys, nested
):
    entered, release = threading.Event(), threading.Event()

    def slow(sessions, observations):
        entered.set()
        assert release.wait(30)
        return [Prediction(np.zeros((1, 7), np.float32)) for _ in observations]

    adapter = open_adapter(Gr00tAdapter, serve(slow), keys)
    request = pack({"endpoint": "get_action", "data": {"observation": nested(1)}})
    with zmq.Context.instance().socket(zmq.DEALER) as flood:
        flood.linger = 0
        flood.connect(f"tcp://127.0.0.1:{adapter.port}")
        flood.send_multipart([b"", request])
        assert entered.wait(20)
        for _ in range(100):
            flood.send_multipart([b"", request])
            assert flood.poll(20_000)
            assert "Busy: This client's last request is not answered yet" in unpack(flood.recv_multipart()[1])["error"]
        assert list(adapter._pending.values()) == [len(request)]
        assert connect.another(adapter).call("ping")["status"] == "ok"
        release.set()
        assert "error" not in unpack(flood.recv_multipart()[1])


def test_requests_of_all_clients_are_bounded_in_bytes_and_the_known_have_more_room(
    serve, open_adapter, connect, keys, nested, monkeypatch
):
    entered, release = threading.Event(), threading.Event()
    release.set()

    def slow(sessions, observations):
        entered.set()
        assert release.wait(30)
        return [Prediction(np.zeros((1, 7), np.float32)) for _ in observations]

    adapter = open_adapter(Gr00tAdapter, serve(slow), keys)
    first, known, unknown = (connect.another(adapter) for _ in range(3))
    for client in (first, known):
        client.act(nested(1))
    size = len(pack({"endpoint": "get_action", "data": {"observation": nested(1), "options": None}}))
    monkeypatch.setattr("forehand_plugins.adapters.gr00t.MAX_PENDING", int(2.5 * size))
    entered.clear()
    release.clear()
    with ThreadPoolExecutor() as pool:
        answers = [pool.submit(first.act, nested(1))]
        assert entered.wait(20)
        with pytest.raises(RuntimeError, match="Busy: Requests of too many bytes wait"):
            unknown.act(nested(1))
        answers.append(pool.submit(known.act, nested(1)))
        wait_until(lambda: len(adapter._pending) == 2)
        release.set()
        for answer in answers:
            answer.result(20)


@pytest.mark.parametrize("array", [{b"nd": True, b"data": b""}, {b"__ndarray__": True}])
def test_another_dialect_of_arrays_is_told_what_to_send(serve, connect, array):
    with pytest.raises(RuntimeError, match="as GR00T's clients send them"):
        connect(serve()).call("get_action", {"video.front": array})


def test_it_listens_on_ipv6(serve, open_adapter, keys):
    try:
        adapter = open_adapter(Gr00tAdapter, serve(), keys, host="::1")
    except AddressUnavailable:
        pytest.skip("this computer has no IPv6")
    with zmq.Context.instance().socket(zmq.REQ) as client:
        client.linger, client.rcvtimeo, client.ipv6 = 0, 20_000, True
        client.connect(adapter.address)
        client.send(pack({"endpoint": "ping"}))
        assert unpack(client.recv())["status"] == "ok"
