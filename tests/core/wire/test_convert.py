"""What the interfaces speak of comes through the wire as it was, or is refused with both sides named."""

from __future__ import annotations

import numpy as np
import pytest

from forehand import Episode, Prediction
from forehand.errors import ContractMismatch
from forehand.wire import ProtocolError
from forehand.wire.convert import (
    action_from_payload,
    contract_from_payload,
    episode_from_payload,
    episode_to_payload,
    observation_from_payload,
    observation_to_payload,
    plain,
    prediction_from_payload,
    prediction_to_payload,
)
from forehand.wire.messages import Message, decode, encode


def over_the_wire(payload):
    return decode(encode(Message("step", 1, {"it": payload}))).payload["it"]


@pytest.mark.parametrize("success", [None, True, False, np.bool_(True)])
def test_observation(contract, sense, success):
    sent = sense(3)
    object.__setattr__(sent, "success", success)
    back = observation_from_payload(over_the_wire(observation_to_payload(sent)), contract)
    assert back.images.keys() == sent.images.keys()
    for name in sent.images:
        np.testing.assert_array_equal(back.images[name], sent.images[name])
    np.testing.assert_array_equal(back.state, sent.state)
    assert back.time == sent.time
    assert back.success is (None if success is None else bool(success))


@pytest.mark.parametrize("forecast", [None, {"static": np.full((8, 8, 3), 7, np.uint8)}])
def test_prediction(contract, forecast):
    sent = Prediction(np.arange(21, dtype=np.float32).reshape(3, 7), forecast, 3)
    back = prediction_from_payload(over_the_wire(prediction_to_payload(sent, contract)), contract)
    np.testing.assert_array_equal(back.actions, sent.actions)
    assert back.forecast_horizon == 3
    assert (back.forecast is None) == (forecast is None)
    if forecast:
        np.testing.assert_array_equal(back.forecast["static"], forecast["static"])


@pytest.mark.parametrize("episode", [None, Episode("lift", "lift the red block", 2**40, 200, {"blocks": 2, "x": 0.5})])
def test_episode(episode):
    assert episode_from_payload(over_the_wire(episode_to_payload(episode))) == episode


def test_contract(contract):
    assert contract_from_payload(over_the_wire(contract.to_dict())) == contract


@pytest.mark.parametrize(
    "damage",
    [
        {"rate": float("nan")},
        {"rate": 0},
        {"rate": "fast"},
        {"cameras": [[]]},
        {"cameras": [{"name": "static", "height": "tall", "width": 3}]},
        {"state": [{"name": "pose", "size": -1}]},
        {"action": 5},
    ],
)
def test_a_contract_of_nonsense_is_refused(contract, damage):
    with pytest.raises(ContractMismatch, match="not a contract"):
        contract_from_payload({**contract.to_dict(), **damage})


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda p: p["images"].pop("wrist"), r"camera 'wrist' must be uint8 \(16, 16, 3\).*missing"),
        (lambda p: p["images"].update(wrist=np.zeros((16, 17, 3), np.uint8)), r"wrist.*\(16, 16, 3\).*\(16, 17, 3\)"),
        (lambda p: p["images"].update(wrist=np.zeros((16, 16, 3), np.float32)), "wrist.*uint8.*float32"),
        (lambda p: p.update(state=np.zeros(8, np.float32)), r"state must be float32 \(7,\).*\(8,\)"),
    ],
)
def test_an_observation_that_breaks_the_contract_is_refused(contract, sense, damage, says):
    payload = observation_to_payload(sense())
    damage(payload)
    with pytest.raises(ContractMismatch, match=says):
        observation_from_payload(payload, contract)


@pytest.mark.parametrize("key", ["images", "state", "time", "success"])
def test_an_observation_that_lacks_something_is_refused(contract, sense, key):
    payload = observation_to_payload(sense())
    del payload[key]
    with pytest.raises(ProtocolError, match=key):
        observation_from_payload(payload, contract)


@pytest.mark.parametrize(
    "action", [np.zeros(6, np.float32), np.zeros(7), np.zeros((1, 7), np.float32), np.full(7, np.nan, np.float32)]
)
def test_an_action_that_must_not_move_a_robot_is_refused(contract, action):
    with pytest.raises(ContractMismatch):
        action_from_payload({"action": action}, contract)


def test_facts_become_plain():
    facts = {"name": "seer", 1: (np.float32, None), "nested": {"path": pytest}}
    assert over_the_wire(plain(facts)) == {"name": "seer", "1": [str(np.float32), None], "nested": {"path": str(pytest)}}
