"""What the interfaces speak of comes through the wire as it was, or is refused with both sides named."""

from __future__ import annotations

import numpy as np
import pytest

from forehand import Episode, Forecast, Prediction
from forehand.errors import ContractMismatch
from forehand.utils.plain import to_plain
from forehand.wire import ProtocolError
from forehand.wire.messages import Message, decode, encode
from forehand.wire.serialize import (
    action_from_payload,
    contract_from_payload,
    episode_from_payload,
    episode_to_payload,
    observation_from_payload,
    observation_to_payload,
    prediction_from_payload,
    prediction_to_payload,
)


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


IMAGES = {"static": np.full((8, 8, 3), 7, np.uint8)}
FEATURES = {"dino.static": np.linspace(0, 1, 24, dtype=np.float32).reshape(2, 3, 4)}


@pytest.mark.parametrize(
    "forecasts",
    [
        (),
        (Forecast(3, IMAGES),),
        (Forecast(3, features=FEATURES),),
        (Forecast(1, IMAGES), Forecast(4, IMAGES, FEATURES)),
    ],
)
def test_prediction(contract, forecasts):
    sent = Prediction(np.arange(21, dtype=np.float32).reshape(3, 7), forecasts)
    back = prediction_from_payload(over_the_wire(prediction_to_payload(sent, contract)), contract)
    np.testing.assert_array_equal(back.actions, sent.actions)
    assert [f.horizon for f in back.forecasts] == [f.horizon for f in forecasts]
    for ours, theirs in zip(back.forecasts, forecasts, strict=True):
        assert ours.images.keys() == theirs.images.keys()
        assert ours.features.keys() == theirs.features.keys()
        for name, array in {**ours.images, **ours.features}.items():
            np.testing.assert_array_equal(array, {**theirs.images, **theirs.features}[name])


def test_a_forecast_of_images_is_what_earlier_clients_read(contract):
    actions = np.zeros((1, 7), np.float32)
    payload = prediction_to_payload(Prediction(actions, (Forecast(3, IMAGES),)), contract)
    assert payload == {"actions": actions, "forecast": IMAGES, "forecast_horizon": 3}
    assert prediction_to_payload(Prediction(actions), contract)["forecast"] is None


@pytest.mark.parametrize("forecasts", [3, [3], [{"horizon": 1}], [{"horizon": 1, "images": {"a": 3}, "features": {}}]])
def test_a_forecast_that_is_none_is_refused(contract, forecasts):
    payload = {**prediction_to_payload(Prediction(np.zeros((1, 7), np.float32)), contract), "forecasts": forecasts}
    with pytest.raises(ProtocolError):
        prediction_from_payload(payload, contract)


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
    facts = {
        "name": "seer",
        1: (np.float32, None),
        "nested": {"path": pytest, "range": np.ones((1, 2))},
        "n": np.int64(3),
    }
    assert over_the_wire(to_plain(facts)) == {
        "name": "seer",
        "1": [str(np.float32), None],
        "nested": {"path": str(pytest), "range": [[1.0, 1.0]]},
        "n": 3,
    }
