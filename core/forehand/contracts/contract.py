"""Contract schema: cameras, other sensors, state and action fields with units, frames, limits and rates.

A dataset, a checkpoint and a robot each carry a :class:`Contract`. ``None`` in a field means "not stated": it is compared
with nothing and listed as unchecked, so that datasets with incomplete metadata can still be used knowingly.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from forehand.contracts.orientation import ORIENTATIONS
from forehand.contracts.sensor import LARGEST_SIZE, RGB, Sensor
from forehand.errors import ConfigurationError, ContractMismatch, nearest
from forehand.utils.reading import parse_json

Bounds = tuple[float, ...]

PROTECTION = ("max_velocity", "max_acceleration", "workspace_low", "workspace_high")
"""Attributes of fields that protect a robot. The robot's own are enforced at the robot, so no policy has to agree."""

SCHEMA = 2
"""The version of :meth:`Contract.to_dict`. Contracts without one are of version 1, which had no sensors."""


@dataclass(frozen=True)
class Camera:
    """One camera: ``height`` × ``width`` uint8 RGB; ``role`` is ``"static"`` (fixed in the world) or ``"wrist"``.

    ``orientation``: how its pictures lie, one of :data:`~forehand.contracts.orientation.ORIENTATIONS`.
    """

    name: str
    height: int
    width: int
    role: str | None = None
    orientation: str | None = None

    def __post_init__(self) -> None:
        if self.orientation is not None and self.orientation not in ORIENTATIONS:
            raise ValueError(
                f"the orientation of camera {self.name!r} is {self.orientation!r}. "
                f"{nearest(self.orientation, ORIENTATIONS)}"
            )


@dataclass(frozen=True)
class Field:
    """One quantity of ``size`` consecutive numbers in the state or action vector.

    ``unit``: "m", "rad", "1", …; ``frame``: "base", "end_effector", …; ``rotation``: "euler_xyz_extrinsic",
    "axis_angle", "quaternion_xyzw", …; ``mode``: "absolute" or "delta" (relative to the last *target* pose);
    ``gripper``: what a larger number means, "open" or "closed"; ``low``/``high``: the range, one number for each element.

    What protects a robot, one number for each element, kept by :mod:`forehand.control.limits`: ``max_velocity`` (unit/s)
    and ``max_acceleration`` (unit/s²) of what is commanded, ``workspace_low``/``workspace_high``: where it may lead to.
    """

    name: str
    size: int
    unit: str | None = None
    frame: str | None = None
    rotation: str | None = None
    mode: str | None = None
    gripper: str | None = None
    low: Bounds | None = None
    high: Bounds | None = None
    max_velocity: Bounds | None = None
    max_acceleration: Bounds | None = None
    workspace_low: Bounds | None = None
    workspace_high: Bounds | None = None

    def __post_init__(self) -> None:
        for bound in (self.low, self.high, *(getattr(self, name) for name in PROTECTION)):
            if bound is not None and len(bound) != self.size:
                raise ValueError(f"field {self.name!r} has {self.size} elements but a bound of {len(bound)}: {bound}")
            if bound is not None and any(math.isnan(number) for number in bound):
                raise ValueError(f"field {self.name!r} has a bound that is no number: {bound}")
        for low, high in ((self.low, self.high), (self.workspace_low, self.workspace_high)):
            if low is not None and high is not None and any(a > b for a, b in zip(low, high, strict=True)):
                raise ValueError(f"field {self.name!r} has a lower bound {low} above its upper bound {high}")
            if math.inf in (low or ()) or -math.inf in (high or ()):
                raise ValueError(f"field {self.name!r} has bounds {low} and {high} that nothing finite is between")
        for most in (self.max_velocity, self.max_acceleration):
            if most is not None and not all(number > 0 for number in most):
                raise ValueError(
                    f"field {self.name!r} has a largest velocity or acceleration that is not positive: {most}"
                )


@dataclass(frozen=True)
class Contract:
    """Cameras, state layout, action layout, control rate (Hz), and the sensors beside cameras.

    Raises :class:`ConfigurationError` for a rate that is none, and for sensors that share a name with another one or
    with a camera.
    """

    cameras: tuple[Camera, ...]
    state: tuple[Field, ...]
    action: tuple[Field, ...]
    rate: float
    sensors: tuple[Sensor, ...] = ()

    def __post_init__(self) -> None:
        if not (math.isfinite(self.rate) and self.rate > 0):
            raise ConfigurationError(f"A contract's rate is a positive number of Hz, not {self.rate}.")
        taken = {camera.name for camera in self.cameras}
        for sensor in self.sensors:
            if sensor.kind == RGB:
                raise ConfigurationError(f"sensor {sensor.name!r}: state an RGB camera in cameras, not in sensors.")
            if sensor.name in taken:
                raise ConfigurationError(f"Two sensors or cameras of a contract are called {sensor.name!r}. Rename one.")
            taken.add(sensor.name)

    @property
    def observed(self) -> tuple[Sensor, ...]:
        """Everything that is sensed beside the state: the cameras as sensors of the kind ``rgb``, and :attr:`sensors`."""
        return (*(_as_sensor(camera) for camera in self.cameras), *self.sensors)

    @property
    def state_size(self) -> int:
        """Length of the state vector."""
        return sum(f.size for f in self.state)

    @property
    def action_size(self) -> int:
        """Length of the action vector."""
        return sum(f.size for f in self.action)

    def camera(self, name: str) -> Camera:
        """The camera of that name."""
        for camera in self.cameras:
            if camera.name == name:
                return camera
        raise KeyError(f"no camera {name!r} among {[c.name for c in self.cameras]}")

    def sensor(self, name: str) -> Sensor:
        """The sensor of that name, a camera or another."""
        for sensor in self.observed:
            if sensor.name == name:
                return sensor
        raise KeyError(f"no sensor {name!r} among {[s.name for s in self.observed]}")

    def to_dict(self) -> dict[str, Any]:
        """Plain lists, numbers and strings, for JSON or msgpack, with the version ``schema``."""
        plain = {"schema": SCHEMA, **asdict(self)}
        if not self.sensors:
            del plain["sensors"]
        for camera in plain["cameras"]:
            if camera["orientation"] is None:
                del camera["orientation"]
        return plain

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Contract:
        """The inverse of :meth:`to_dict`, of earlier versions too.

        A newer version, unknown keys, and sizes that are none, are refused by name with a :class:`ContractMismatch`.
        """

        def build(kind: type, item: Mapping[str, Any], where: str) -> Any:
            unknown = set(item) - {f.name for f in fields(kind)}
            if unknown:
                raise ContractMismatch(f"contract {where} has unknown keys {sorted(unknown)}; a newer version wrote it?")
            return kind(**{k: tuple(v) if isinstance(v, list) else v for k, v in item.items()})

        try:
            _check_schema(data)
            contract = cls(
                cameras=tuple(build(Camera, c, "camera") for c in data["cameras"]),
                state=tuple(build(Field, f, "state field") for f in data["state"]),
                action=tuple(build(Field, f, "action field") for f in data["action"]),
                rate=_number(data["rate"]),
                sensors=tuple(build(Sensor, s, "sensor") for s in data.get("sensors", ())),
            )
            check_sizes(contract)
            return contract
        except (AttributeError, ConfigurationError, KeyError, TypeError, ValueError) as error:
            raise ContractMismatch(f"this is not a contract: {type(error).__name__}: {error}") from error

    def to_json(self) -> str:
        """Indented JSON."""
        return json.dumps(self.to_dict(), indent=2)

    @classmethod
    def from_json(cls, text: str) -> Contract:
        """The inverse of :meth:`to_json`; :class:`~forehand.utils.reading.Unreadable` where it is not JSON."""
        return cls.from_dict(parse_json(text))


def _as_sensor(camera: Camera) -> Sensor:
    return Sensor(camera.name, RGB, (camera.height, camera.width, 3), "uint8", role=camera.role)


def _number(rate: Any) -> float:
    if isinstance(rate, bool) or not isinstance(rate, int | float):
        raise TypeError(f"the rate is a number of Hz, not {rate!r}")
    return float(rate)


def _check_schema(data: Mapping[str, Any]) -> None:
    """Raise :class:`ContractMismatch` for a contract of a version that is not known here."""
    version = data.get("schema", 1)
    if type(version) is not int or version < 1:
        raise ContractMismatch(f"a contract's schema is a whole number from 1 to {SCHEMA}, not {version!r}")
    if version > SCHEMA:
        raise ContractMismatch(
            f"this contract has schema {version}, and this version of Forehand reads contracts up to schema {SCHEMA}. "
            f"Install the release that wrote it, or a newer one."
        )


def check_sizes(contract: Contract) -> None:
    """Raise ValueError unless all sizes are whole numbers that something could be built for."""
    pixels = [length for camera in contract.cameras for length in (camera.height, camera.width)]
    for size in (*pixels, *(field.size for field in (*contract.state, *contract.action))):
        if type(size) is not int or not 0 <= size <= LARGEST_SIZE:
            raise ValueError(f"a size is a whole number from 0 to {LARGEST_SIZE}, not {size!r}")
