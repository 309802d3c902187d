"""What a policy server promises: one typed answer to every request, batches, and that nobody can bring it down."""

from __future__ import annotations

import dataclasses
import queue
import socket
import threading
import time

import msgpack
import numpy as np
import pytest
import zmq
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.core.wire.conftest import FunctionPolicy, ManualClock

from forehand import Forecast, Prediction, Session
from forehand.errors import CheckpointError, ContractMismatch, NotFinite
from forehand.wire import (
    AddressUnavailable,
    Busy,
    DeadlineExceeded,
    InternalError,
    PolicyClient,
    PolicyServer,
    ProtocolError,
    RemoteFailure,
    RemotePolicy,
    UnknownSession,
)
from forehand.wire.batching import Batcher, Step
from forehand.wire.clients import HEARTBEAT_TIMEOUT, ClientQuotas
from forehand.wire.connection import ROBOT, Connection
from forehand.wire.messages import PREFIX, Message, decode, encode
from forehand.wire.serialize import observation_to_payload


def wait_until(holds, timeout=30.0):
    end = time.monotonic() + timeout
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.02)


def states_as_actions(sessions, observations):
    return [Prediction(o.state[None]) for o in observations]


class Gate:
    """A policy that tells when it was entered, and does not return before it may."""

    def __init__(self) -> None:
        self.entered = threading.Semaphore(0)
        self.may_return = threading.Event()
        self.seen: list[list[float]] = []

    def __call__(self, sessions, observations):
        self.seen.append([o.time for o in observations])
        self.entered.release()
        assert self.may_return.wait(60)
        return states_as_actions(sessions, observations)


@pytest.fixture
def gate():
    gate = Gate()
    yield gate
    gate.may_return.set()


def test_a_prediction_arrives_as_the_policy_made_it(serve, contract, sense):
    server = serve()
    with PolicyClient(server.address) as client:
        assert client.contract == contract
        assert client.describe() == {"policy": "FunctionPolicy", "history": 1}
        session = client.open("push", contract)
        seen = sense(1)
        prediction = session.step(seen, forecast=True)
        np.testing.assert_array_equal(prediction.actions, [seen.state, -seen.state])
        np.testing.assert_array_equal(prediction.forecast["wrist"], seen.images["wrist"])
        assert prediction.forecast_horizon == 3
        assert session.step(seen).forecast is None
        assert session.timing.batch == 1
        client.ping()


def test_a_session_is_reset_with_its_instruction(serve, contract, sense):
    told = []

    def note(sessions, observations):
        told.extend(s.instruction for s in sessions)
        return states_as_actions(sessions, observations)

    with PolicyClient(serve(note).address) as client:
        session = client.open("push", contract)
        session.step(sense())
        session.reset()
        session.step(sense())
        session.reset("lift")
        session.step(sense())
    assert told == ["push", "push", "lift"]


def test_a_remote_policy_is_a_policy(serve, contract, sense):
    policy = RemotePolicy(serve().address)
    assert policy.contract == contract
    sessions = [policy.open("push"), policy.open("lift")]
    answers = policy.step(sessions, [sense(1), sense(2)], forecast=True)
    np.testing.assert_array_equal([a.actions[0] for a in answers], [sense(1).state, sense(2).state])
    assert policy.describe() == {"policy": "FunctionPolicy", "history": 1}
    policy.close()


def test_robots_that_wait_together_are_computed_together(serve, raw, contract, sense, gate):
    server = serve(gate)
    robots = [raw(server.address) for _ in range(5)]
    sessions = [robot.open(contract) for robot in robots]
    for number, (robot, session) in enumerate(zip(robots, sessions, strict=True)):
        robot.send("step", 10, {"observation": observation_to_payload(sense(number)), "forecast": False}, session)
        if number == 0:
            assert gate.entered.acquire(timeout=20)
        robot.ask("ping", 11)  # answered while the policy is busy, and the step before it has been read
    gate.may_return.set()
    for number, robot in enumerate(robots):
        answer = robot.answer()
        np.testing.assert_array_equal(answer.payload["actions"][0], sense(number).state)
        assert answer.payload["timing"]["batch"] == (1 if number == 0 else 4)
    assert server._policy.batches == [1, 4]


def test_one_session_never_meets_itself_in_a_batch_and_keeps_its_order(serve, raw, contract, sense, gate):
    client = raw(serve(gate).address)
    one, two = client.open(contract, 1), client.open(contract, 3)

    def step(id, session, number):
        client.send("step", id, {"observation": observation_to_payload(sense(number)), "forecast": False}, session)

    step(5, one, 0)
    assert gate.entered.acquire(timeout=20)
    step(6, one, 1)
    step(7, one, 2)
    step(8, two, 3)
    client.ask("ping", 9)  # everything before it has been read now
    gate.may_return.set()
    answers = {m.id: m for m in (client.answer() for _ in range(4))}
    assert sorted(answers) == [5, 6, 7, 8]
    assert [[round(t * 15) for t in batch] for batch in gate.seen] == [[0], [1, 3], [2]]
    assert answers[8].payload["timing"]["batch"] == 2
    np.testing.assert_array_equal(answers[8].payload["actions"][0], sense(3).state)


def test_an_exception_in_a_batch_is_told_to_everyone_in_it_and_the_server_lives_on(serve, contract, sense):
    def fail_once(sessions, observations):
        if observations[0].time == 0:
            raise RuntimeError("CUDA out of memory")
        return states_as_actions(sessions, observations)

    with PolicyClient(serve(fail_once).address) as client:
        session = client.open("push", contract)
        with pytest.raises(InternalError, match="RuntimeError: CUDA out of memory"):
            session.step(sense(0))
        np.testing.assert_array_equal(session.step(sense(1)).actions[0], sense(1).state)


def test_a_policy_that_would_end_its_thread_is_an_error_and_the_server_lives_on(serve, contract, sense, caplog):
    def leave_once(sessions, observations):
        if observations[0].time == 0:
            raise SystemExit(0)
        return states_as_actions(sessions, observations)

    with PolicyClient(serve(leave_once, warm_up=True).address) as client:
        session = client.open("push", contract)
        assert "no warm-up (SystemExit: 0)" in caplog.text
        with pytest.raises(InternalError, match="failed with SystemExit: 0"):
            session.step(sense(0))
        np.testing.assert_array_equal(session.step(sense(1)).actions[0], sense(1).state)


def test_an_error_meant_for_people_arrives_as_it_was(serve, contract, sense):
    def refuse(sessions, observations):
        raise CheckpointError("model.safetensors is truncated; copy it again")

    with PolicyClient(serve(refuse).address) as client, pytest.raises(RemoteFailure) as caught:
        client.open("push", contract).step(sense())
    assert str(caught.value) == "model.safetensors is truncated; copy it again"


@pytest.mark.parametrize(
    "answer",
    [[], [Prediction(np.zeros((1, 6), np.float32))], [Prediction(np.zeros((1, 7)))], [None], None],
    ids=["nothing", "short", "float64", "None in a list", "None"],
)
def test_a_policy_that_answers_nonsense_is_an_error_not_an_action(serve, contract, sense, answer):
    with PolicyClient(serve(lambda sessions, observations: answer).address) as client:
        session = client.open("push", contract)
        with pytest.raises((InternalError, ContractMismatch)):
            session.step(sense())
        client.ping()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("where", ["observation", "earlier"])
def test_a_state_that_is_not_finite_is_refused_by_name_and_never_reaches_the_policy(
    serve, contract, sense, raw, value, where
):
    server = serve()
    bad = sense(1)
    bad.state[6] = value
    client = raw(server.address)
    session = client.open(contract)
    payload = {"observation": observation_to_payload(sense(2)), "earlier": [observation_to_payload(sense(2))]}
    payload[where] = observation_to_payload(bad) if where == "observation" else [observation_to_payload(bad)]
    answer = client.ask("step", 5, payload | {"forecast": False}, session)
    assert (answer.kind, answer.payload["code"]) == ("error", "not_finite")
    assert f"element 0 of 'gripper' is {value}" in answer.payload["message"]
    assert server._policy.batches == []


def test_a_time_that_is_not_finite_is_refused(serve, contract, sense):
    with PolicyClient(serve().address) as client:
        session = client.open("push", contract)
        with pytest.raises(NotFinite, match="time is not finite: nan"):
            session.step(dataclasses.replace(sense(), time=float("nan")))


def test_a_session_s_seed_reaches_the_policy(serve, raw, contract, sense):
    def seeds(sessions, observations):
        return [Prediction(np.full((1, 7), session.seed, np.float32)) for session in sessions]

    server = serve(seeds)
    with PolicyClient(server.address, timeout=60) as client:
        for seed in (0, 7, 2**40):
            assert client.open("push", contract, seed=seed).step(sense()).actions[0, 0] == np.float32(seed)
    assert RemotePolicy(server.address, 60.0).open("push", 7).step(sense()).actions[0, 0] == 7
    payload = {"instruction": "push", "contract": contract.to_dict(), "seed": -1}
    client = raw(server.address)
    client.open(contract)
    answer = client.ask("open", 9, payload)
    assert "a whole number from 0, not -1" in answer.payload["message"]


def test_an_answer_that_is_not_finite_is_never_sent_and_costs_only_its_own_session(serve, raw, contract, sense, gate):
    """Of three robots in one batch the second has a state so large that the policy's numbers overflow."""
    histories = []

    class Remembering(Session):
        def __init__(self, instruction, seed):
            super().__init__(instruction, seed)
            self.frames = []

        def reset(self, instruction=None):
            super().reset(instruction)
            self.frames.clear()

    def overflow(sessions, observations):
        answers = []
        gate(sessions, observations)
        for session, observation in zip(sessions, observations, strict=True):
            session.frames.append(observation.state)
            histories.append(len(session.frames))
            with np.errstate(over="ignore"):
                answers.append(Prediction(np.sum(session.frames, axis=0)[None] * np.float32(10)))
        return answers

    server = serve(overflow)
    server._policy.open = Remembering
    robots = [raw(server.address) for _ in range(4)]
    sessions = [robot.open(contract) for robot in robots]

    def step(number, id, state):
        seen = dataclasses.replace(sense(number), state=np.full(7, state, np.float32))
        robots[number].send(
            "step", id, {"observation": observation_to_payload(seen), "forecast": False}, sessions[number]
        )

    step(3, 10, 0)
    assert gate.entered.acquire(timeout=20)
    for number, state in enumerate((1, 1e38, 2)):
        step(number, 10, state)
        robots[number].ask("ping", 11)
    gate.may_return.set()
    answers = [robot.answer() for robot in robots]
    assert server._policy.batches == [1, 3]
    assert [a.kind for a in answers] == ["result", "error", "result", "result"]
    assert answers[1].payload["code"] == "not_finite"
    assert "element 0 of 'pose' is inf. The session's history was forgotten" in answers[1].payload["message"]
    np.testing.assert_array_equal(answers[2].payload["actions"], np.full((1, 7), 20))
    step(1, 12, 3)
    np.testing.assert_array_equal(robots[1].answer().payload["actions"], np.full((1, 7), 30))
    assert histories[-1] == 1


def test_a_request_that_waited_too_long_is_answered_and_not_computed(serve, raw, contract, sense, gate):
    client = raw(serve(gate).address)
    one, two = client.open(contract, 1), client.open(contract, 3)
    client.send("step", 5, {"observation": observation_to_payload(sense(1)), "forecast": False}, one)
    assert gate.entered.acquire(timeout=20)
    late = client.ask("step", 6, {"observation": observation_to_payload(sense(2)), "forecast": False}, two, budget=0.05)
    assert (late.kind, late.payload["code"]) == ("error", "deadline_exceeded")  # although the policy is stuck
    gate.may_return.set()
    assert client.answer().id == 5
    client.ask("step", 7, {"observation": observation_to_payload(sense(3)), "forecast": False}, two)
    assert [[round(t * 15) for t in batch] for batch in gate.seen] == [[1], [3]]


def test_a_hung_policy_costs_a_client_its_timeout_and_no_more(serve, contract, sense, gate):
    with PolicyClient(serve(gate).address) as client:
        session = client.open("push", contract)
        with pytest.raises(DeadlineExceeded, match=r"policy server at tcp://.*did not answer 'step' in time.*allow more"):
            session.step(sense(1), timeout=0.2)
        client.ping()  # the socket is served all the while
        gate.may_return.set()
        np.testing.assert_array_equal(session.step(sense(2)).actions[0], sense(2).state)  # not the late answer to 1


def test_a_contract_that_does_not_fit_is_refused_with_both_values(serve, contract, sense):
    server = serve()
    wrong = dataclasses.replace(contract, rate=20.0, cameras=contract.cameras[:1])
    with PolicyClient(server.address) as client, pytest.raises(ContractMismatch) as caught:
        client.open("push", wrong)
    assert "control rate (Hz): needed 15.0, offered 20.0" in str(caught.value)
    assert "camera 'wrist': needed 'present', offered ['static']" in str(caught.value)
    with PolicyClient(server.address, contract=wrong) as client, pytest.raises(ContractMismatch, match="offered 20"):
        client.ping()


def test_an_observation_that_does_not_fit_fails_alone(serve, contract, sense):
    server = serve()
    with PolicyClient(server.address) as client:
        session = client.open("push", contract)
        with pytest.raises(ContractMismatch, match=r"the state must be float32 \(7,\)"):
            session.step(dataclasses.replace(sense(), state=np.zeros(8, np.float32)))
    assert server._policy.batches == []


def test_sessions_end_by_closing_and_by_silence(serve, contract, sense):
    clock = ManualClock()
    server = serve(session_timeout=60.0, disconnect_timeout=60.0, clock=clock)
    with PolicyClient(server.address) as client:
        closed, silent = client.open("push", contract), client.open("push", contract)
        closed.close()
        closed.close()
        with pytest.raises(UnknownSession, match="Open a new one"):
            closed.step(sense())
        clock.now += 59
        silent.step(sense())
        clock.now += 61
        wait_until(lambda: not server._sessions)
        with pytest.raises(UnknownSession, match="unused for 60 s"):
            silent.step(sense())


def test_a_session_outlives_the_connection_that_opened_it(serve, contract, sense):
    with PolicyClient(serve().address) as client:
        session = client.open("push", contract)
        client.close()
        assert session.step(sense()).actions.shape == (2, 7)


def test_limits_are_answered_with_busy(serve, raw, contract, sense, gate):
    server = serve(gate, max_sessions=1)
    client = raw(server.address)
    session = client.open(contract)
    with PolicyClient(server.address) as other, pytest.raises(Busy, match="1 sessions already"):
        other.open("push", contract)
    payload = {"observation": observation_to_payload(sense()), "forecast": False}
    for id in range(10, 10 + server.limits.pending):
        client.send("step", id, payload, session)
    assert client.ask("step", 50, payload, session).payload["code"] == "busy"


def test_hello_comes_first(serve, raw):
    answer = raw(serve().address).ask("open", 1, {})
    assert (answer.kind, answer.payload["code"]) == ("error", "hello_required")


def test_another_version_is_answered_in_ours(serve, raw):
    client = raw(serve().address)
    client.socket.send_multipart([b"FHND\x63" + encode(Message("hello", 1, {}))[0][len(PREFIX) :]])
    answer = client.answer()
    assert answer.payload["code"] == "version_mismatch"
    assert "has version 99" in answer.payload["message"]


def test_a_request_nobody_knows_or_without_a_budget_is_named(serve, raw):
    client = raw(serve().address)
    client.ask("hello", 1, {"contract": None})
    assert "has close, hello, open, ping, reset, step" in client.ask("dance", 2).payload["message"]
    assert "no budget" in client.ask("ping", 3, budget=None).payload["message"]
    assert "'instruction'" in client.ask("open", 4, {}).payload["message"]


def test_duplicates_and_the_overtaken_are_not_carried_out(serve, raw, contract, sense):
    server = serve()
    client = raw(server.address)
    session = client.open(contract)
    payload = {"observation": observation_to_payload(sense()), "forecast": False}
    for id in (10, 10, 9):
        client.send("step", id, payload, session)
    assert client.answer().id == 10
    assert client.ask("ping", 11).kind == "result"
    assert server._policy.batches == [1]


def test_the_wrong_kind_of_endpoint_is_named(serve):
    connection = Connection(serve().address, ROBOT, 5.0)
    with pytest.raises(ProtocolError, match=r"no robot host at tcp://.* serves a policy"):
        connection.hello()
    connection.close()


def test_a_port_in_use_is_named_with_what_to_do(serve):
    server = serve()
    with pytest.raises(AddressUnavailable, match=f"{server.address} is in use.*Stop it, or choose another"):
        PolicyServer(server._policy, server.address)
    with pytest.raises(AddressUnavailable, match="localhost:banana cannot be bound"):
        PolicyServer(server._policy, "tcp://localhost:banana")
    with pytest.raises(AddressUnavailable, match="Write it as tcp://HOST:PORT"):
        PolicyClient("over there").ping()


def test_stopping_finishes_what_was_accepted_and_refuses_what_comes(serve, raw, contract, sense, gate):
    server = serve(gate)
    client = raw(server.address)
    session = client.open(contract)
    payload = {"observation": observation_to_payload(sense()), "forecast": False}
    client.send("step", 10, payload, session)
    assert gate.entered.acquire(timeout=20)
    client.send("step", 11, payload, session)
    client.ask("ping", 12)
    server.stop()
    assert client.ask("step", 13, payload, session).payload["code"] == "stopping"
    assert client.ask("ping", 14).kind == "result"
    gate.may_return.set()
    answers = {m.id: m for m in (client.answer(), client.answer())}
    assert [answers[id].kind for id in (10, 11)] == ["result", "result"]


def test_a_hung_policy_does_not_keep_a_server_from_stopping(serve, raw, contract, sense, gate, monkeypatch):
    monkeypatch.setattr("forehand.wire.endpoint.DRAIN_TIMEOUT", 0.3)
    server = serve(gate)
    client = raw(server.address)
    session = client.open(contract)
    payload = {"observation": observation_to_payload(sense()), "forecast": False}
    client.send("step", 10, payload, session)
    assert gate.entered.acquire(timeout=20)
    client.send("step", 11, payload, session)
    client.ask("ping", 12)
    server.stop()
    answer = client.answer()
    assert (answer.id, answer.payload["code"]) == (11, "stopping")


@pytest.mark.parametrize("latency_budget", [0.0, 0.01])
def test_nothing_is_remembered_of_sessions_that_are_over(serve, contract, sense, latency_budget):
    clock = ManualClock()
    server = serve(latency_budget=latency_budget, clock=clock)
    with PolicyClient(server.address) as client:
        for _ in range(5):
            session = client.open("push", contract)
            session.step(sense())
            session.close()
            clock.now += 1.1
        session = client.open("push", contract)
        session.step(sense())
        assert server._batcher._asked.keys() <= {session._token}
        assert server._sessions.keys() == {session._token}


def test_a_step_waits_for_the_others_within_the_latency_budget(serve, raw, contract, sense, gate):
    server = serve(gate, latency_budget=1.0, clock=ManualClock())
    robots = [raw(server.address) for _ in range(3)]
    sessions = [robot.open(contract) for robot in robots]

    def step(number, id):
        payload = {"observation": observation_to_payload(sense(number)), "forecast": False}
        robots[number].send("step", id, payload, sessions[number])

    step(0, 10)
    assert gate.entered.acquire(timeout=20)  # alone, since no other has sent a step yet
    step(1, 10)
    step(2, 10)
    gate.may_return.set()
    assert robots[0].answer().payload["timing"]["batch"] == 1
    for id in (11, 12):
        step(0, id)  # the two others wait for this one
        assert [robot.answer().payload["timing"]["batch"] for robot in robots] == [3, 3, 3]
        step(1, id)
        step(2, id)


@pytest.mark.slow
def test_a_step_waits_for_others_half_of_its_time_at_most(contract, sense):
    clock, answers = ManualClock(), queue.Queue()
    policy = FunctionPolicy(contract, states_as_actions)
    batcher = Batcher(policy, max_batch=2, latency_budget=3600.0, clock=clock)

    def submit(name):
        session, until = policy.open("push"), clock.now + 1.0
        batcher.submit(Step("step", name, clock.now, until, answers.put, b"", policy, session, sense(), False))

    batcher.start()
    submit("one")
    assert answers.get(timeout=20)["timing"]["queued"] == 0
    submit("two")
    with pytest.raises(queue.Empty):
        answers.get(timeout=0.6)
    clock.now += 0.6
    assert answers.get(timeout=20)["timing"]["queued"] == pytest.approx(0.6)
    batcher.stop()


def test_clients_take_turns_whoever_has_more_sessions(serve, raw, contract, sense, gate):
    server = serve(gate, max_batch=2)
    greedy, modest = raw(server.address), raw(server.address)
    own = [greedy.open(contract, 2 * n + 1) for n in range(4)]
    other = modest.open(contract)
    payload = {"observation": observation_to_payload(sense(1)), "forecast": False}
    greedy.send("step", 20, payload, own[0])
    assert gate.entered.acquire(timeout=20)
    for id, session in enumerate(own[1:], 21):
        greedy.send("step", id, payload, session)
    greedy.ask("ping", 30)
    modest.send("step", 10, payload | {"observation": observation_to_payload(sense(2))}, other)
    modest.ask("ping", 11)
    gate.may_return.set()
    assert modest.answer().kind == "result"
    assert [[round(t * 15) for t in batch] for batch in gate.seen[:2]] == [[1], [1, 2]]


def test_the_policy_is_warm_before_anyone_asks(serve):
    server = serve(states_as_actions, warm_up=True)
    with PolicyClient(server.address) as client:
        client.ping()
    assert server._policy.batches == [1]


def test_a_policy_that_cannot_be_warmed_up_serves_all_the_same(serve, contract, sense, caplog):
    def refuse_blanks(sessions, observations):
        if not observations[0].state.any():
            raise CheckpointError("nothing to see")
        return states_as_actions(sessions, observations)

    with PolicyClient(serve(refuse_blanks, warm_up=True).address) as client:
        assert client.open("push", contract).step(sense()).actions.shape == (1, 7)
    assert "no warm-up (CheckpointError: nothing to see)" in caplog.text


def test_a_client_has_its_share_of_sessions_and_of_questions(serve, raw, contract):
    clock = ManualClock()
    server = serve(limits=ClientQuotas(sessions=1, rate=5), clock=clock)
    client = raw(server.address)
    client.open(contract)
    answer = client.ask("open", 3, {"instruction": "push", "contract": contract.to_dict()})
    assert (answer.payload["code"], "1 sessions open already" in answer.payload["message"]) == ("busy", True)
    assert [client.ask("ping", id).payload.get("code") for id in range(4, 7)] == [None, None, "busy"]
    clock.now += 1.2
    assert client.ask("ping", 100).kind == "result"
    with PolicyClient(server.address) as other:
        other.ping()


def test_a_message_larger_than_granted_is_refused(serve, raw, contract, sense):
    client = raw(serve(limits=ClientQuotas(message=2000)).address)
    session = client.open(contract)
    client.send("step", 3, {"observation": observation_to_payload(sense()), "forecast": False}, session)
    answer = client.answer()
    assert (answer.payload["code"], "a message 2000" in answer.payload["message"]) == ("protocol_error", True)


@pytest.mark.slow
def test_a_session_whose_robot_is_gone_is_closed_soon_and_others_are_not(serve, raw, contract, sense):
    server = serve(disconnect_timeout=0.2)
    silent, promising = raw(server.address), raw(server.address)
    promising.ask("hello", 1, {"contract": None, "heartbeat": 0.1})
    gone = promising.ask("open", 2, {"instruction": "push", "contract": contract.to_dict()}).payload["session"]
    kept = silent.open(contract)
    wait_until(lambda: gone not in server._sessions)
    assert kept in server._sessions


@pytest.mark.slow
def test_heartbeats_keep_an_idle_client_and_its_sessions(serve, contract, sense):
    clock = ManualClock()
    server = serve(disconnect_timeout=0.1, clock=clock)
    with PolicyClient(server.address) as client:
        session = client.open("push", contract)
        for _ in range(3):
            clock.now += 0.9 * HEARTBEAT_TIMEOUT
            wait_until(lambda: all(c.last_heard == clock.now for c in server._clients.values()))
        assert session.step(sense()).actions.shape == (2, 7)
    wait_until(lambda: all(client.ended for client in server._clients.values()))
    clock.now += 1
    wait_until(lambda: not server._sessions)


def test_pictures_travel_as_jpeg_if_the_client_wants_them_so(serve, contract, sense):
    images = {
        c.name: np.zeros((c.height, c.width, 3), np.uint8) + np.arange(c.width, dtype=np.uint8)[:, None] * 4
        for c in contract.cameras
    }
    seen = dataclasses.replace(sense(), images=images)
    shown = []

    def look(sessions, observations):
        shown.append(observations[0].images)
        return [Prediction(o.state[None], (Forecast(1, dict(o.images)),)) for o in observations]

    with PolicyClient(serve(look).address, jpeg=95) as client:
        forecast = client.open("push", contract).step(seen, forecast=True).forecast
    for name, image in images.items():
        for back in (shown[0][name], forecast[name]):
            assert back.shape == image.shape
            assert 0 < np.abs(back.astype(int) - image).max() < 12


def alive(server, contract, sense):
    with PolicyClient(server.address) as client:
        np.testing.assert_array_equal(client.open("push", contract).step(sense(4)).actions[0], sense(4).state)


def test_strangers_with_random_frames_do_not_disturb_a_live_server(serve, contract, sense):
    server = serve()
    stranger = zmq.Context.instance().socket(zmq.DEALER)
    stranger.linger = 0
    stranger.connect(server.address)
    greeting = encode(Message("hello", 1, {"contract": None}, None, 1.0))
    stranger.send_multipart(greeting)
    kinds = st.sampled_from(["hello", "open", "step", "reset", "close", "ping", "result", "error", ""])
    values = st.none() | st.integers(-3, 3) | st.text(max_size=4) | st.lists(st.integers(-3, 3), max_size=2)
    values |= st.dictionaries(st.text(max_size=3), values, max_size=2)
    keys = st.sampled_from(["contract", "instruction", "observation", "forecast"])
    messages = st.builds(
        lambda kind, id, payload, session: encode(Message(kind, id, payload, session, 0.5)),
        kinds,
        st.integers(2, 2**63 - 1),
        st.dictionaries(keys, values, max_size=4),
        st.none() | st.text(max_size=3),
    )
    noise = st.lists(st.binary(max_size=40), min_size=1, max_size=70)

    @settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
    @given(messages | noise | noise.map(lambda frames: [PREFIX + frames[0], *frames[1:]]))
    def disturb(frames):
        stranger.send_multipart(frames)
        while stranger.poll(0):
            answer = stranger.recv_multipart()
            assert answer[0] == b"" or decode(answer).kind in ("result", "error")

    disturb()
    alive(server, contract, sense)
    stranger.close()


def test_strangers_that_speak_no_zeromq_do_not_disturb_a_live_server(serve, contract, sense):
    server = serve()
    host, port = server.address.removeprefix("tcp://").split(":")
    random = np.random.default_rng(0)
    for junk in [b"", b"GET / HTTP/1.1\r\n\r\n", b"\xff" * 10_000, *(random.bytes(500) for _ in range(20))]:
        with socket.create_connection((host, int(port))) as stranger:
            stranger.sendall(junk)
    alive(server, contract, sense)


def test_clients_that_leave_are_noticed_and_lock_nobody_out(serve, raw):
    server = serve(limits=ClientQuotas(clients=4))
    for _ in range(3):
        leaving = [raw(server.address) for _ in range(4)]
        for client in leaving:
            assert client.ask("hello", 1, {"contract": None}).kind == "result"
        for client in leaving:
            client.socket.close()
    wait_until(lambda: not server._clients)  # long before anything times out


def test_idle_clients_make_room_and_those_with_a_session_do_not(serve, raw, contract, sense):
    server = serve(limits=ClientQuotas(clients=3))
    robot = raw(server.address)
    session = robot.open(contract)
    idle = [raw(server.address) for _ in range(9)]
    for client in idle:
        assert client.ask("hello", 1, {"contract": None}).kind == "result"
    assert len(server._clients) == 3
    payload = {"observation": observation_to_payload(sense()), "forecast": False}
    assert robot.ask("step", 5, payload, session).kind == "result"
    assert idle[0].ask("ping", 2).payload["code"] == "hello_required"
    assert idle[-1].ask("ping", 2).kind == "result"


def test_where_all_clients_have_sessions_another_is_told_to_come_later(serve, raw, contract):
    server = serve(limits=ClientQuotas(clients=2))
    robots = [raw(server.address) for _ in range(2)]
    for robot in robots:
        robot.open(contract)
    assert raw(server.address).ask("hello", 1, {"contract": None}).payload["code"] == "busy"


def test_sessions_of_the_gone_make_room_where_there_is_none(serve, raw, contract):
    server = serve(max_sessions=2)
    leaving, staying = raw(server.address), raw(server.address)
    left, kept = leaving.open(contract), staying.open(contract)
    leaving.socket.close()
    wait_until(lambda: len(server._clients) == 1)
    newcomer = raw(server.address)
    session = newcomer.open(contract)
    assert server._sessions.keys() == {kept, session}
    assert left not in server._sessions
    answer = staying.ask("open", 5, {"instruction": "push", "contract": contract.to_dict()})
    assert answer.payload["code"] == "busy"


def test_more_connections_than_granted_end_and_those_of_clients_stay(serve, raw, contract, monkeypatch):
    monkeypatch.setattr("forehand.wire.endpoint.SPARE", 0)
    server = serve(limits=ClientQuotas(clients=2))
    client = raw(server.address)
    client.open(contract)
    host, port = server.address.removeprefix("tcp://").split(":")
    silent = [socket.create_connection((host, int(port)), timeout=20) for _ in range(10)]
    for connection in silent[:-1]:
        while connection.recv(64):
            pass  # its greeting, then its end
    wait_until(lambda: len(server._transport.peers) == 2)
    assert client.ask("ping", 9).kind == "result"
    for connection in silent:
        connection.close()


@pytest.mark.parametrize("array", [{b"nd": True, b"data": b""}, {b"__ndarray__": True}, b"bytes"])
def test_another_dialect_is_told_what_to_send(serve, raw, array):
    client = raw(serve().address)
    client.ask("hello", 1, {"contract": None})
    header = {"kind": "step", "id": 2, "session": "", "budget": 1.0, "payload": {"observation": {"state": array}}}
    for frame in (PREFIX + msgpack.packb(header), msgpack.packb({"observation/state": array})):
        client.socket.send(frame)
        answer = client.answer()
        assert answer.payload["code"] == "protocol_error"
        assert "msgpack-numpy" in answer.payload["message"]
        assert "docs/reference/protocol.md" in answer.payload["message"]


def test_a_req_socket_gets_a_reply_that_it_can_read(serve):
    with zmq.Context.instance().socket(zmq.REQ) as client:
        client.linger, client.rcvtimeo = 0, 20_000
        client.connect(serve().address)
        client.send(msgpack.packb({"endpoint": "ping"}))
        assert "docs/guides/clients.md" in msgpack.unpackb(client.recv())["error"]
