"""GR00T's clients of both dialects drive our server, in the same batches as everybody."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forehand import Prediction
from forehand.errors import ConfigurationError
from forehand.wire import AddressUnavailable, ProtocolError
from forehand.wire.doors import Keys
from forehand.wire.doors.gr00t import Gr00tDoor, decode

FIXTURES = Path(__file__).parents[3] / "data" / "doors"
SENTENCE = "annotation.human.action.task_description"


@pytest.fixture
def keys():
    cameras = {"static": "video.front", "wrist": "video.wrist"}
    return Keys(cameras, ["state.pose", "state.gripper"], SENTENCE)


@pytest.fixture
def connect(keys, open_door, gr00t_client):
    """A client of theirs, through a door in front of a server."""
    clients = []

    def client(server, **options):
        return another(open_door(Gr00tDoor, server, options.pop("keys", keys), **options))

    def another(door, token=None):
        clients.append(gr00t_client(door, token))
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
    client = connect(serve(), keys=Keys(keys.cameras, keys.state, SENTENCE, mapping))
    actions, _ = client.act(nested(1))
    assert {key: part.shape for key, part in actions.items()} == {key: (1, 2, size) for key, size in mapping.items()}
    wrong = connect(serve(), keys=Keys(keys.cameras, keys.state, SENTENCE, {"x": 1}))
    with pytest.raises(RuntimeError, match="1 numbers, but the policy commands 7: pose 6, gripper 1"):
        wrong.act(nested(1))


def count(sessions, observations):
    for session in sessions:
        session.steps = getattr(session, "steps", 0) + 1
    return [Prediction(np.full((1, 7), s.steps, np.float32)) for s in sessions]


def test_a_socket_is_a_session_until_it_resets(serve, open_door, connect, keys, nested):
    door = open_door(Gr00tDoor, serve(count), keys)
    client, other = connect.another(door), connect.another(door)
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


def test_a_slow_answer_keeps_nobody_waiting(serve, open_door, connect, keys, nested):
    entered, release = threading.Event(), threading.Event()

    def slow(sessions, observations):
        entered.set()
        assert release.wait(30)
        return [Prediction(np.zeros((1, 7), np.float32)) for _ in observations]

    server = serve(slow)
    door = open_door(Gr00tDoor, server, keys)
    clients = [connect.another(door) for _ in range(4)]
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
        assert connect.another(door).call("ping") == {"status": "ok", "message": "Server is running"}
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


def test_the_token_is_asked_for(serve, open_door, connect, keys):
    door = open_door(Gr00tDoor, serve(), keys, api_key="secret")
    assert connect.another(door, "secret").call("ping")["status"] == "ok"
    for wrong in (None, "guess"):
        with pytest.raises(RuntimeError, match=r"^Unauthorized: Invalid API token$"):
            connect.another(door, wrong).call("ping")


def test_without_a_token_strangers_cannot_reach_it(serve, keys):
    with pytest.raises(ConfigurationError, match=r"everyone.*doors\.gr00t\.api_key"):
        Gr00tDoor(serve(), "0.0.0.0", 0, keys)


def test_a_port_that_is_taken_says_so(serve, open_door, keys):
    door = open_door(Gr00tDoor, serve(), keys)
    with pytest.raises(AddressUnavailable, match=rf"127\.0\.0\.1:{door.port}.*doors\.gr00t\.port"):
        open_door(Gr00tDoor, serve(), keys, port=door.port)


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


def test_silent_clients_are_forgotten_with_their_sessions(serve, open_door, connect, keys, nested):
    server = serve()
    door = open_door(Gr00tDoor, server, keys)
    connect.another(door).act(nested(1))
    assert len(server._sessions) == 1
    door.silence = 0.0
    until = time.monotonic() + 20
    while server._sessions or door._clients:
        assert time.monotonic() < until
        time.sleep(0.01)
