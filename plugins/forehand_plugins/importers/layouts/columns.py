"""Columns of a source: cameras, and fields of state and action, with all that must be stated of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from forehand import Camera, Field
from forehand.contracts.orientation import ORIENTATIONS
from forehand.contracts.rotations import FORMS
from forehand.data.importing.statements import Statements
from forehand.errors import ConfigurationError, DatasetError, nearest

UNKNOWN = "unknown"
"""Stated where the meaning of a number is not known; the contract then leaves it open."""

MODES = ("absolute", "delta", UNKNOWN)
SENSES = ("open", "closed", UNKNOWN)
ROLES = ("static", "wrist", UNKNOWN)

_ATTRIBUTES = {field.name for field in fields(Field)} - {"name", "size"}

Note = Callable[[str, Any], None]
"""Notes the value of a statement."""


@dataclass(frozen=True)
class CameraColumn:
    """Camera of a layout: the pictures ``key`` of the source as the camera ``name``.

    orientation: how they lie. white: the brightest value of pictures that are not uint8. present: the column that says
    whether an episode has them.
    """

    name: str
    key: str
    orientation: str
    role: str | None = None
    white: float | None = None
    present: str | None = None

    def camera(self, height: int, width: int) -> Camera:
        """The camera of the contract."""
        return Camera(self.name, height, width, self.role)

    def pixels(self, picture: NDArray[Any]) -> NDArray[np.uint8]:
        """(H, W, 3) uint8; raises :class:`DatasetError` for brighter values than ``white``."""
        if picture.dtype == np.uint8:
            return picture
        if self.white is None:
            raise DatasetError(f"The pictures {self.key!r} are {picture.dtype}: state cameras.{self.name}.white.")
        scaled = np.rint(np.asarray(picture, np.float64) * (255 / self.white))
        if not (scaled.min() >= 0 and scaled.max() <= 255) or (self.white > 1 and 0 < picture.max() <= 1):
            raise DatasetError(
                f"A picture of {self.key!r} has values from {picture.min():g} to {picture.max():g}, and white is stated "
                f"as {self.white:g}."
            )
        return scaled.astype(np.uint8)


@dataclass(frozen=True)
class Column:
    """Field of a layout: the numbers ``key`` of the source, from ``part[0]`` to before ``part[1]``, as ``name``."""

    name: str
    key: str
    part: tuple[int, int] | None
    stated: Mapping[str, Any]

    def size(self, of_source: int) -> int:
        """How many numbers are taken of ``of_source``; raises :class:`ConfigurationError` where there are too few."""
        first, end = self.part or (0, of_source)
        if not 0 <= first < end <= of_source:
            raise ConfigurationError(f"{self.name} takes part {[first, end]} of {self.key!r}, which has {of_source}.")
        return end - first

    def field(self, of_source: int) -> Field:
        """The field of the contract."""
        size = self.size(of_source)
        values = {name: None if value == UNKNOWN else value for name, value in self.stated.items()}
        for bound in ("low", "high"):
            if (number := values.get(bound)) is not None:
                values[bound] = tuple(map(float, number)) if isinstance(number, Sequence) else (float(number),) * size
        try:
            return Field(self.name, size, **values)
        except (TypeError, ValueError) as error:
            raise ConfigurationError(f"The field {self.name!r} cannot be as stated: {error}.") from error

    def take(self, values: NDArray[Any]) -> NDArray[Any]:
        """Its numbers (T, size) among ``values`` (T, …)."""
        flat = values.reshape(len(values), math.prod(values.shape[1:]))
        return flat if self.part is None else flat[:, self.part[0] : self.part[1]]


def camera_columns(statements: Statements, entries: Any, note: Note) -> tuple[CameraColumn, ...]:
    """The cameras ``{name: {key: …, orientation: …, role: …}}``; what is missing is noted in ``statements``."""
    found = []
    for name, entry in (entries or {}).items():
        where = f"cameras.{name}"
        entry = _mapping(where, entry, ("key", "orientation", "role", "white", "present"))
        missing = [
            _missing(statements, entry, where, "key", "the column of the source"),
            _missing(statements, entry, where, "orientation", "how its pictures lie", tuple(ORIENTATIONS)),
            _missing(statements, entry, where, "role", "whether it is fixed or moves with the hand", ROLES),
        ]
        if not any(missing):
            role = None if entry["role"] == UNKNOWN else entry["role"]
            found.append(CameraColumn(name, **{**entry, "role": role}))
            note(where, f"{entry['key']}, {entry['orientation']}")
    return tuple(found)


def number_columns(statements: Statements, which: str, entries: Any, note: Note) -> tuple[Column, ...]:
    """The columns ``[{name: …, key: …, part: [0, 3], unit: …, …}]`` of ``which``, the state or the action.

    A unit, and whether numbers are absolute, must be stated of each; the frame of positions and rotations, the form of
    rotations, and the sense of grippers, too, each of them known by its name.
    """
    found = []
    for entry in entries or ():
        name = entry.get("name") if isinstance(entry, Mapping) else None
        if not name:
            raise ConfigurationError(f"{which} is a list of {{name: …, key: …, unit: …}}, and has {entry!r}.")
        where = f"{which}.{name}"
        entry = _mapping(where, entry, ("name", "key", "part", *_ATTRIBUTES))
        missing = [_missing(statements, entry, where, "key", "the column of the source")]
        missing += [_missing(statements, entry, where, *asked) for asked in _asked(name)]
        part = entry.get("part")
        if part is not None and (not isinstance(part, Sequence) or len(part) != 2):
            raise ConfigurationError(f"{where}.part is {part!r}; it is [first, end], the end excluded.")
        if not any(missing):
            stated = {key: value for key, value in entry.items() if key not in ("name", "key", "part")}
            found.append(Column(name, str(entry["key"]), None if part is None else (int(part[0]), int(part[1])), stated))
            of = "" if part is None else f"[{part[0]}:{part[1]}]"
            note(where, f"{entry['key']}{of}: " + ", ".join(f"{k} {v}" for k, v in stated.items()))
    return tuple(found)


def _asked(name: str) -> list[tuple[Any, ...]]:
    """What must be stated of a field of that name."""
    asked: list[tuple[Any, ...]] = [
        ("unit", "what 1.0 is, such as m, rad, 0.05 m or 1"),
        ("mode", "whether numbers are absolute or relative", MODES),
    ]
    if "joint" not in name and ("position" in name or "rotation" in name):
        asked.append(("frame", "the axes of its numbers, such as base or end_effector"))
    if "rotation" in name:
        asked.append(("rotation", "the form of the rotation", (*FORMS, UNKNOWN)))
    if "gripper" in name:
        asked.append(("gripper", "what a larger number means", SENSES))
    return asked


def _missing(
    statements: Statements, entry: Mapping[str, Any], where: str, name: str, meaning: str, choices: Any = None
) -> bool:
    """Whether a value is missing, which is noted; raises :class:`ConfigurationError` for one outside ``choices``."""
    value = entry.get(name)
    if value is None:
        statements.ask(f"{where}.{name}", None, meaning, choices)
    elif choices is not None and value not in choices:
        raise ConfigurationError(f"{where}.{name} is {value!r}. {nearest(value, choices)}")
    return value is None


def _mapping(where: str, entry: Any, known: Sequence[str]) -> dict[str, Any]:
    if not isinstance(entry, Mapping):
        raise ConfigurationError(f"{where} is {entry!r}; it is a mapping such as {{key: …}}.")
    if unknown := [name for name in entry if name not in known]:
        raise ConfigurationError(f"{where} has {unknown[0]!r}. {nearest(unknown[0], known)}")
    return dict(entry)
