"""Serialization of contracts, observations, actions, predictions and episodes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from forehand.contracts.contract import Contract
from forehand.control.finite import require_finite
from forehand.errors import ContractMismatch, ProtocolError
from forehand.policy import Forecast, Prediction
from forehand.robot import Episode, Observation

Payload = dict[str, Any]


def require(payload: Mapping[str, Any], key: str, *kinds: type) -> Any:
    """``payload[key]``, which must be there and be one of ``kinds`` (a whole number will do for a float)."""
    if key not in payload:
        raise ProtocolError(f"The payload lacks {key!r}; it has {sorted(payload)}.")
    value = payload[key]
    if float in kinds and type(value) is int:
        return float(value)
    if (isinstance(value, bool) and bool not in kinds) or not isinstance(value, kinds):
        names = " or ".join("nil" if k is type(None) else k.__name__ for k in kinds)
        raise ProtocolError(f"{key!r} must be {names}; this is {type(value).__name__}.")
    return value


def contract_from_payload(data: Mapping[str, Any]) -> Contract:
    """A contract that came over the wire, with its values checked, since a comparison alone would not see nonsense."""
    contract = Contract.from_dict(data)
    sizes = [n for c in contract.cameras for n in (c.height, c.width)]
    sizes += [f.size for f in (*contract.state, *contract.action)]
    if any(type(n) is not int or n <= 0 for n in sizes) or not (math.isfinite(contract.rate) and contract.rate > 0):
        raise ContractMismatch(
            f"this is not a contract: sizes must be positive whole numbers and the rate positive, in {dict(data)}"
        )
    return contract


def observation_to_payload(observation: Observation) -> Payload:
    """``{images, state, time, success}``, and ``sensors``, ``episode_return``, ``ended`` where there are any.

    Earlier releases do not expect these.
    """
    payload: Payload = {
        "images": dict(observation.images),
        "state": observation.state,
        "time": float(observation.time),
        "success": None if observation.success is None else bool(observation.success),
    }
    if observation.sensors:
        payload["sensors"] = dict(observation.sensors)
    if observation.episode_return is not None:
        payload["episode_return"] = float(observation.episode_return)
    if observation.ended:
        payload["ended"] = True
    return payload


def observation_from_payload(payload: Mapping[str, Any], contract: Contract) -> Observation:
    """The inverse; the shapes and dtypes must be the contract's, more cameras and sensors are welcome.

    Raises :class:`NotFinite` for a sensor's numbers that are not finite.
    """
    if not isinstance(payload, Mapping):
        raise ProtocolError(f"An observation must be a map; this is {type(payload).__name__}.")
    images, state = require(payload, "images", dict), require(payload, "state", np.ndarray)
    for camera in contract.cameras:
        shape = (camera.height, camera.width, 3)
        _check_array(f"camera {camera.name!r}", images.get(camera.name), np.uint8, shape)
    for name, image in images.items():
        if not isinstance(image, np.ndarray):
            raise ProtocolError(f"image {name!r} must be an array; this is {type(image).__name__}.")
    _check_array("the state", state, np.float32, (contract.state_size,))
    sensors = require(payload, "sensors", dict) if "sensors" in payload else {}
    for sensor in contract.sensors:
        sensor.check(sensors.get(sensor.name))
    for name, values in sensors.items():
        if not isinstance(values, np.ndarray):
            raise ProtocolError(f"sensor {name!r} must be an array; this is {type(values).__name__}.")
    time, success = require(payload, "time", float), require(payload, "success", bool, type(None))
    rewards = require(payload, "episode_return", float) if "episode_return" in payload else None
    ended = require(payload, "ended", bool) if "ended" in payload else False
    return Observation(images, state, time, success, sensors, rewards, ended)


def action_from_payload(payload: Mapping[str, Any], contract: Contract) -> NDArray[np.float32]:
    """One action (A,) float32 under ``action``; anything else, NaN and infinity too, is refused before it can move."""
    action: NDArray[np.float32] = require(payload, "action", np.ndarray)
    _check_array("the action", action, np.float32, (contract.action_size,))
    if not np.isfinite(action).all():
        raise ContractMismatch(f"The action holds numbers that are not finite, and nothing was moved: {action}.")
    return action


def prediction_to_payload(prediction: Prediction, contract: Contract) -> Payload:
    """``{actions, forecast, forecast_horizon}``; what a policy answered must be what its contract says, and finite.

    What is more than one forecast of images, or other than that, is sent as a list, ``forecasts``.
    """
    actions = np.asarray(prediction.actions)
    _check_array("the policy's actions", actions, np.float32, (len(actions) if actions.ndim else 0, contract.action_size))
    require_finite("The policy's answer", actions, contract.action)
    payload: Payload = {"actions": actions, "forecast": None, "forecast_horizon": 0}
    match prediction.forecasts:
        case (Forecast(horizon, images, features),) if images and not features:
            payload |= {"forecast": dict(images), "forecast_horizon": int(horizon)}
        case (_, *_):
            payload["forecasts"] = [
                {"horizon": int(f.horizon), "images": dict(f.images), "features": dict(f.features)}
                for f in prediction.forecasts
            ]
    return payload


def prediction_from_payload(payload: Mapping[str, Any], contract: Contract) -> Prediction:
    """The inverse."""
    actions = require(payload, "actions", np.ndarray)
    _check_array("the actions", actions, np.float32, (len(actions) if actions.ndim else 0, contract.action_size))
    require_finite("The policy's answer", actions, contract.action)
    images, horizon = require(payload, "forecast", dict, type(None)), require(payload, "forecast_horizon", int)
    if "forecasts" not in payload:
        given = {"horizon": horizon, "images": images, "features": {}}
        return Prediction(actions, () if images is None else (_forecast_from_payload(given),))
    return Prediction(actions, tuple(map(_forecast_from_payload, require(payload, "forecasts", list))))


def _forecast_from_payload(payload: Any) -> Forecast:
    if not isinstance(payload, Mapping):
        raise ProtocolError(f"A forecast must be a map; this is {type(payload).__name__}.")
    pictures, features = require(payload, "images", dict), require(payload, "features", dict)
    for named, kind, what in ((pictures, np.uint8, "(h, w, 3) uint8"), (features, np.floating, "(h, w, W) floats")):
        for name, array in named.items():
            fits = isinstance(array, np.ndarray) and array.ndim == 3 and np.issubdtype(array.dtype, kind)
            if not fits or (kind is np.uint8 and array.shape[2] != 3):
                found = f"{array.dtype} {array.shape}" if isinstance(array, np.ndarray) else type(array).__name__
                raise ProtocolError(f"the forecast of {name!r} must be an array of {what}; this is {found}.")
    if (horizon := require(payload, "horizon", int)) < 1:
        raise ProtocolError(f"a forecast's horizon is one control step or more, not {horizon}.")
    return Forecast(horizon, pictures, features)


def episode_to_payload(episode: Episode | None) -> Payload | None:
    """``{task, instruction, seed, max_steps, options, continues}``, or None."""
    if episode is None:
        return None
    return {
        "task": episode.task,
        "instruction": episode.instruction,
        "seed": episode.seed,
        "max_steps": episode.max_steps,
        "options": dict(episode.options),
        "continues": episode.continues,
    }


def episode_from_payload(payload: Mapping[str, Any] | None) -> Episode | None:
    """The inverse."""
    if payload is None:
        return None
    options = require(payload, "options", dict)
    for key, value in options.items():
        if not isinstance(value, (str, int, float, bool)):
            raise ProtocolError(f"episode option {key!r} must be a string, number or boolean; this is {value!r}.")
    return Episode(
        task=require(payload, "task", str),
        instruction=require(payload, "instruction", str),
        seed=require(payload, "seed", int),
        max_steps=require(payload, "max_steps", int),
        options=options,
        continues=require(payload, "continues", bool) if "continues" in payload else False,
    )


def _check_array(what: str, value: Any, dtype: type[np.generic], shape: tuple[int, ...]) -> None:
    if not isinstance(value, np.ndarray) or value.dtype != dtype or value.shape != shape:
        found = f"{value.dtype} {value.shape}" if isinstance(value, np.ndarray) else "missing or no array"
        raise ContractMismatch(f"{what} must be {np.dtype(dtype)} {shape} by the contract, but is {found}.")
