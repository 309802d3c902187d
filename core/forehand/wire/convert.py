"""What the interfaces speak of, as payloads and back: contracts, observations, actions, predictions, episodes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from forehand.contract import Contract
from forehand.errors import ContractMismatch
from forehand.policy import Prediction
from forehand.robot import Episode, Observation
from forehand.wire.errors import ProtocolError

Payload = dict[str, Any]


def need(payload: Mapping[str, Any], key: str, *kinds: type) -> Any:
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
    try:
        contract = Contract.from_dict(data)
    except AttributeError as error:
        raise ContractMismatch(f"this is not a contract: {error}") from error
    sizes = [n for c in contract.cameras for n in (c.height, c.width)]
    sizes += [f.size for f in (*contract.state, *contract.action)]
    if any(type(n) is not int or n <= 0 for n in sizes) or not (math.isfinite(contract.rate) and contract.rate > 0):
        raise ContractMismatch(
            f"this is not a contract: sizes must be positive whole numbers and the rate positive, in {dict(data)}"
        )
    return contract


def observation_to_payload(observation: Observation) -> Payload:
    """``{images, state, time, success}``."""
    return {
        "images": dict(observation.images),
        "state": observation.state,
        "time": float(observation.time),
        "success": None if observation.success is None else bool(observation.success),
    }


def observation_from_payload(payload: Mapping[str, Any], contract: Contract) -> Observation:
    """The inverse; the shapes and dtypes must be the contract's, more cameras are welcome."""
    if not isinstance(payload, Mapping):
        raise ProtocolError(f"An observation must be a map; this is {type(payload).__name__}.")
    images, state = need(payload, "images", dict), need(payload, "state", np.ndarray)
    for camera in contract.cameras:
        shape = (camera.height, camera.width, 3)
        _check_array(f"camera {camera.name!r}", images.get(camera.name), np.uint8, shape)
    for name, image in images.items():
        if not isinstance(image, np.ndarray):
            raise ProtocolError(f"image {name!r} must be an array; this is {type(image).__name__}.")
    _check_array("the state", state, np.float32, (contract.state_size,))
    time, success = need(payload, "time", float), need(payload, "success", bool, type(None))
    return Observation(images, state, time, success)


def action_from_payload(payload: Mapping[str, Any], contract: Contract) -> NDArray[np.float32]:
    """One action (A,) float32 under ``action``; anything else, NaN and infinity too, is refused before it can move."""
    action: NDArray[np.float32] = need(payload, "action", np.ndarray)
    _check_array("the action", action, np.float32, (contract.action_size,))
    if not np.isfinite(action).all():
        raise ContractMismatch(f"The action holds numbers that are not finite, and nothing was moved: {action}.")
    return action


def prediction_to_payload(prediction: Prediction, contract: Contract) -> Payload:
    """``{actions, forecast, forecast_horizon}``; what a policy answered must be what its contract says."""
    actions = np.asarray(prediction.actions)
    _check_array("the policy's actions", actions, np.float32, (len(actions) if actions.ndim else 0, contract.action_size))
    return {
        "actions": actions,
        "forecast": None if prediction.forecast is None else dict(prediction.forecast),
        "forecast_horizon": int(prediction.forecast_horizon),
    }


def prediction_from_payload(payload: Mapping[str, Any], contract: Contract) -> Prediction:
    """The inverse."""
    actions = need(payload, "actions", np.ndarray)
    _check_array("the actions", actions, np.float32, (len(actions) if actions.ndim else 0, contract.action_size))
    forecast = need(payload, "forecast", dict, type(None))
    return Prediction(actions, forecast, need(payload, "forecast_horizon", int))


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
    options = need(payload, "options", dict)
    for key, value in options.items():
        if not isinstance(value, (str, int, float, bool)):
            raise ProtocolError(f"episode option {key!r} must be a string, number or boolean; this is {value!r}.")
    return Episode(
        task=need(payload, "task", str),
        instruction=need(payload, "instruction", str),
        seed=need(payload, "seed", int),
        max_steps=need(payload, "max_steps", int),
        options=options,
        continues=need(payload, "continues", bool) if "continues" in payload else False,
    )


def plain(value: Any) -> Any:
    """``value`` in the types a payload may hold, strings standing in for what has no other form: facts for people."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return value if value is None or isinstance(value, (str, int, float, bool)) else str(value)


def _check_array(what: str, value: Any, dtype: type[np.generic], shape: tuple[int, ...]) -> None:
    if not isinstance(value, np.ndarray) or value.dtype != dtype or value.shape != shape:
        found = f"{value.dtype} {value.shape}" if isinstance(value, np.ndarray) else "missing or no array"
        raise ContractMismatch(f"{what} must be {np.dtype(dtype)} {shape} by the contract, but is {found}.")
