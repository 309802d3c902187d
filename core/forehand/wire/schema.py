"""Types of the requests' payloads, and their JSON schema.

    python -m forehand.wire.schema > docs/reference/requests.schema.json

In the schema an array is what :mod:`forehand.wire.messages` puts in its place: ``[frame, dtype, shape]``, the data of
MessagePack extension 1.
"""

import json
import types
from collections.abc import Mapping
from typing import Any, NotRequired, TypedDict, Union, get_args, get_origin, get_type_hints, is_typeddict

import numpy as np

from forehand.wire.messages import DTYPES, MAX_DIMENSIONS

Array = np.ndarray
Contract = dict[str, Any]


class Empty(TypedDict):
    """No content."""


class Hello(TypedDict):
    """First message of a connection."""

    contract: Contract | None
    heartbeat: NotRequired[float | None]
    jpeg: NotRequired[int | None]


class Observation(TypedDict):
    """What a robot observes: images (H, W, 3) uint8 by camera, state (S,) float32, its clock in seconds, more sensors.

    ``episode_return``: sum of rewards since the reset; ``ended``: the environment itself has ended the episode.
    """

    images: dict[str, Array]
    state: Array
    time: float
    success: bool | None
    sensors: NotRequired[dict[str, Array]]
    episode_return: NotRequired[float]
    ended: NotRequired[bool]


class Open(TypedDict):
    """A session for the robot of this contract; ``seed`` (0 or more, default 0) is of what the policy draws at random."""

    instruction: str
    contract: Contract
    seed: NotRequired[int]


class Step(TypedDict):
    """An observation to answer, and the ones before it that were not sent yet."""

    observation: Observation
    forecast: bool
    earlier: NotRequired[list[Observation]]


class PolicyReset(TypedDict):
    """The start of an episode; None keeps the instruction."""

    instruction: str | None


class Episode(TypedDict):
    """A benchmark's episode."""

    task: str
    instruction: str
    seed: int
    max_steps: int
    options: dict[str, str | int | float | bool]
    continues: NotRequired[bool]


class RobotReset(TypedDict):
    """A start of the robot."""

    episode: Episode | None
    begin_by: NotRequired[float | None]


class Action(TypedDict):
    """One action (A,) float32."""

    action: Array
    begin_by: NotRequired[float | None]


REQUESTS: Mapping[str, Mapping[str, type]] = {
    "policy": {"hello": Hello, "ping": Empty, "open": Open, "step": Step, "reset": PolicyReset, "close": Empty},
    "robot": {
        "hello": Hello,
        "ping": Empty,
        "open": Empty,
        "reset": RobotReset,
        "observe": Empty,
        "act": Action,
        "step": Action,
        "hold": Empty,
        "stop": Empty,
        "close": Empty,
    },
}
"""The payload of each request, by the role of the endpoint."""

_PLAIN = {str: "string", int: "integer", float: "number", bool: "boolean", types.NoneType: "null"}


def request_schema() -> dict[str, Any]:
    """JSON schema (2020-12) of all payloads: ``properties`` by role, then by the request's kind."""
    shape = {"type": "array", "items": {"type": "integer", "minimum": 0}, "maxItems": MAX_DIMENSIONS}
    placeholder = [{"type": "integer", "minimum": 1}, {"enum": sorted(DTYPES)}, shape]
    array = {"type": "array", "prefixItems": placeholder, "items": False, "minItems": 3}
    roles = {
        role: _object({kind: _schema(payload) for kind, payload in kinds.items()}) for role, kinds in REQUESTS.items()
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Payloads of Forehand's wire protocol, version 1",
        "$defs": {"array": array},
        **_object(roles),
    }


def _schema(kind: Any) -> dict[str, Any]:
    if kind in _PLAIN:
        return {"type": _PLAIN[kind]}
    if kind is Array:
        return {"$ref": "#/$defs/array"}
    if kind is Any:
        return {}
    if is_typeddict(kind):
        fields = get_type_hints(kind)
        required = sorted(kind.__required_keys__)
        return {"description": kind.__doc__, **_object({k: _schema(v) for k, v in fields.items()}), "required": required}
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        return {"anyOf": [_schema(argument) for argument in arguments]}
    if origin is list:
        return {"type": "array", "items": _schema(arguments[0])}
    return {"type": "object", "additionalProperties": _schema(arguments[1])}


def _object(properties: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": dict(properties)}


if __name__ == "__main__":
    print(json.dumps(request_schema(), indent=1))
