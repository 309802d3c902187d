"""Exact conversions between contracts, by name: units, encodings and layouts of states, actions and images.

A conversion names its subject and what that becomes::

    camera.front:static            the camera "front" is called "static"
    camera.static:128x128          its pictures are scaled to 128 × 128 (the only conversion that loses anything)
    camera.static:upright          its pictures, whose orientation is stated, are turned (forehand.contracts.orientation)
    state.rotation:axis_angle      the field "rotation" of the state is in another form (forehand.contracts.rotations)
    state.position:mm              it is in another unit: m, cm, mm; rad, deg
    sensor.depth:depth_static      the sensor "depth" is called "depth_static"
    action.gripper:open            a larger number means open; the field's range must be stated
    action.gripper:-1..1           its range, stated for the field, becomes another one
    state.eef_pos:name:position    it has another name

States and commanded actions are converted this way on their way out, actions on their way in the other way round.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from forehand.contracts.contract import PROTECTION, Bounds, Camera, Contract, Field
from forehand.contracts.orientation import ORIENTATIONS, turned
from forehand.contracts.rotations import FORMS, form
from forehand.errors import ConfigurationError, nearest
from forehand.utils.images import resize

Numbers = NDArray[np.float64]
Function = Callable[[Numbers], Numbers]

UNITS = {"m": ("length", 1.0), "cm": ("length", 0.01), "mm": ("length", 0.001)}
UNITS |= {"rad": ("angle", 1.0), "deg": ("angle", np.pi / 180)}
SENSES = ("open", "closed")
WORKSPACE = ("workspace_low", "workspace_high")

_RANGE = re.compile(r"(-?[\d.]+)\.\.(-?[\d.]+)")
_SIZE = re.compile(r"(\d+)x(\d+)")


@dataclass(frozen=True)
class FieldConversion:
    """Elements ``first`` to ``first + old.size`` of the state or the action become the field ``new``."""

    side: str
    first: int
    old: Field
    new: Field
    forward: Function
    backward: Function

    def to_policy(self, vector: NDArray[np.float32]) -> NDArray[np.float32]:
        """From the robot."""
        return _replaced(vector, self.first, self.old.size, self.forward)

    def to_robot(self, vector: NDArray[np.float32]) -> NDArray[np.float32]:
        """To the robot."""
        return _replaced(vector, self.first, self.new.size, self.backward)


@dataclass(frozen=True)
class CameraConversion:
    """The camera ``old`` becomes ``new``."""

    old: Camera
    new: Camera

    def apply(self, images: dict[str, NDArray[np.uint8]]) -> dict[str, NDArray[np.uint8]]:
        """All of them, with this one converted."""
        return {
            (self.new.name if name == self.old.name else name): (
                self._converted(picture) if name == self.old.name else picture
            )
            for name, picture in images.items()
        }

    def _converted(self, picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
        if self.old.orientation is not None and self.new.orientation is not None:
            picture = turned(picture, self.old.orientation, self.new.orientation)
        return resize(picture[None], (self.new.height, self.new.width))[0]


@dataclass(frozen=True)
class SensorConversion:
    """The sensor ``old`` is called ``new``."""

    old: str
    new: str

    def apply(self, sensors: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """All of them, with this one renamed."""
        return {self.new if name == self.old else name: values for name, values in sensors.items()}


Conversion = FieldConversion | CameraConversion | SensorConversion


def parse(names: Sequence[str], contract: Contract) -> tuple[list[Conversion], Contract]:
    """The conversions of that name, one after the other from ``contract``, and the contract that comes of them.

    Raises :class:`ConfigurationError` for a conversion that is none, or that ``contract`` does not allow.
    """
    found: list[Conversion] = []
    for name in names:
        target, _, value = name.partition(":")
        side, _, of = target.partition(".")
        if side not in ("camera", "sensor", "state", "action") or not of or not value:
            raise ConfigurationError(
                f"{name!r} is no conversion. Write camera.NAME:…, sensor.NAME:…, state.FIELD:… or action.FIELD:…, for "
                f"instance state.rotation:axis_angle or camera.front:static."
            )
        if side == "camera":
            step, contract = _camera(name, of, value, contract)
        elif side == "sensor":
            step, contract = _sensor(name, of, value, contract)
        else:
            step, contract = _field(name, side, of, value, contract)
        found.append(step)
    return found, contract


def scales(name: str) -> bool:
    """Whether the conversion of that name scales a camera's pictures."""
    target, _, value = name.partition(":")
    return target.startswith("camera.") and _SIZE.fullmatch(value) is not None


def _camera(name: str, of: str, value: str, contract: Contract) -> tuple[Conversion, Contract]:
    old = next((c for c in contract.cameras if c.name == of), None)
    if old is None:
        raise ConfigurationError(
            f"{name!r}: there is no camera {of!r}. {nearest(of, [c.name for c in contract.cameras])}"
        )
    if value in ORIENTATIONS:
        if old.orientation is None:
            raise ConfigurationError(f"{name!r}: it is not stated how the pictures of {of!r} lie.")
        new = replace(old, orientation=value)
    elif size := _SIZE.fullmatch(value):
        new = replace(old, height=int(size[1]), width=int(size[2]))
    else:
        new = replace(old, name=value)
    cameras = tuple(new if c is old else c for c in contract.cameras)
    if len({*(c.name for c in cameras), *(s.name for s in contract.sensors)}) < len(cameras) + len(contract.sensors):
        raise ConfigurationError(f"{name!r}: there is another camera {value!r} already.")
    return CameraConversion(old, new), replace(contract, cameras=cameras)


def _sensor(name: str, of: str, value: str, contract: Contract) -> tuple[Conversion, Contract]:
    known = [s.name for s in contract.sensors]
    if of not in known:
        raise ConfigurationError(f"{name!r}: there is no sensor {of!r}. {nearest(of, known)}")
    if value != of and value in {s.name for s in contract.observed}:
        raise ConfigurationError(f"{name!r}: there is another sensor or camera {value!r} already.")
    sensors = tuple(replace(s, name=value) if s.name == of else s for s in contract.sensors)
    return SensorConversion(of, value), replace(contract, sensors=sensors)


def _field(name: str, side: str, of: str, value: str, contract: Contract) -> tuple[Conversion, Contract]:
    fields: tuple[Field, ...] = getattr(contract, side)
    number = next((i for i, f in enumerate(fields) if f.name == of), None)
    if number is None:
        raise ConfigurationError(f"{name!r}: the {side} has no {of!r}. {nearest(of, [f.name for f in fields])}")
    old = fields[number]
    try:
        new, forward, backward = _change(old, value)
    except ConfigurationError as error:
        raise ConfigurationError(f"{name!r}: {error}") from error
    first = sum(f.size for f in fields[:number])
    changed = (*fields[:number], new, *fields[number + 1 :])
    converted = replace(contract, state=changed) if side == "state" else replace(contract, action=changed)
    return FieldConversion(side, first, old, new, forward, backward), converted


def _change(old: Field, value: str) -> tuple[Field, Function, Function]:
    """What ``old`` becomes, and the functions there and back."""
    if value.startswith("name:"):
        return replace(old, name=value.removeprefix("name:")), _same, _same
    if value in FORMS:
        return _rotation(old, value)
    if value in UNITS:
        return _unit(old, value)
    if value in SENSES:
        if old.gripper not in SENSES:
            raise ConfigurationError(f"it is not stated what a larger number of {old.name!r} means.")
        low, high = _range(old)
        turned = replace(old, gripper=value)
        return _affine(turned, -np.ones(old.size), low + high) if value != old.gripper else (turned, _same, _same)
    if bounds := _RANGE.fullmatch(value):
        low, high = _range(old)
        least, most = (float(b) for b in bounds.groups())
        if not (most > least and (high > low).all()):
            raise ConfigurationError(f"{value!r} is no range.")
        scale = (most - least) / (high - low)
        new, forward, backward = _affine(old, scale, least - low * scale)
        return replace(new, low=(least,) * old.size, high=(most,) * old.size), forward, backward
    raise ConfigurationError(
        f"{value!r} is neither a form of rotations ({', '.join(FORMS)}), a unit ({', '.join(UNITS)}), a gripper's sense "
        f"({', '.join(SENSES)}), a range (0..1) nor a name (name:NEW)."
    )


def _rotation(old: Field, value: str) -> tuple[Field, Function, Function]:
    if old.rotation is None or old.unit not in (None, "rad", "1"):
        raise ConfigurationError(f"{old.name!r} is stated as {old.rotation or 'no rotation'} in {old.unit or 'no unit'}.")
    _refuse_protected(old, "in another form")
    to_matrix, from_matrix = form(old.rotation)
    to_new, from_new = form(value)[1], form(value)[0]
    size = len(to_new(np.eye(3)))
    unit = "rad" if size == 3 else "1"
    # A box of angles is no box in another form.
    new = replace(old, rotation=value, size=size, unit=old.unit and unit, low=None, high=None)
    return new, lambda x: to_new(to_matrix(x)), lambda x: from_matrix(from_new(x))


def _unit(old: Field, value: str) -> tuple[Field, Function, Function]:
    if old.unit not in UNITS or UNITS[old.unit][0] != UNITS[value][0]:
        raise ConfigurationError(f"{old.name!r} is in {old.unit or 'an unstated unit'}, which does not become {value}.")
    factor = UNITS[old.unit][1] / UNITS[value][1]
    return _affine(replace(old, unit=value), np.full(old.size, factor), np.zeros(old.size))


def _affine(field: Field, scale: Numbers, offset: Numbers) -> tuple[Field, Function, Function]:
    """``field`` after x → scale · x + offset, every bound with it."""
    if field.mode == "delta" and offset.any():
        _refuse_protected(field, "where no motion is not 0")

    def moved(bound: Bounds | None) -> Bounds | None:
        return None if bound is None else tuple((np.array(bound) * scale + offset).tolist())

    def stretched(most: Bounds | None) -> Bounds | None:
        return None if most is None else tuple((np.array(most) * np.abs(scale)).tolist())

    bounds: dict[str, Any] = {name: moved(getattr(field, name)) for name in ("low", "high", *WORKSPACE)}
    if (scale < 0).all():
        bounds = dict(zip(("high", "low", *reversed(WORKSPACE)), bounds.values(), strict=True))
    bounds |= {name: stretched(getattr(field, name)) for name in ("max_velocity", "max_acceleration")}
    new = replace(field, **bounds)
    return new, lambda x: x * scale + offset, lambda x: (x - offset) / scale


def _refuse_protected(field: Field, where: str) -> None:
    if any(getattr(field, name) is not None for name in PROTECTION):
        raise ConfigurationError(f"what protects the robot in {field.name!r} could not be kept {where}.")


def _range(field: Field) -> tuple[Numbers, Numbers]:
    if field.low is None or field.high is None:
        raise ConfigurationError(f"the range of {field.name!r} is not stated.")
    return np.array(field.low), np.array(field.high)


def _replaced(vector: NDArray[np.float32], first: int, size: int, function: Function) -> NDArray[np.float32]:
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):  # limits refuse what becomes of it
        part = np.asarray(function(np.asarray(vector[first : first + size], np.float64)), np.float32)
    return np.concatenate([vector[:first], part, vector[first + size :]])


def _same(x: Numbers) -> Numbers:
    return x
