"""Sensor schema: depth images, point clouds and vectors beside RGB cameras, with units, frames and rates."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from forehand.errors import ConfigurationError, ContractMismatch, NotFinite, nearest

Shape = tuple[int | None, ...]

RGB, DEPTH, POINT_CLOUD, VECTOR = "rgb", "depth", "point_cloud", "vector"

DTYPES = {RGB: ("uint8",), DEPTH: ("uint16", "float32"), POINT_CLOUD: ("float32",), VECTOR: ("float32",)}
"""The dtypes of each kind of sensor."""

METRES = {"m": 1.0, "cm": 0.01, "mm": 0.001}
"""Units of length."""

LARGEST_SIZE = 65_536
"""Of a field, a side of a picture in pixels, or a number of points, in a contract from elsewhere."""

_SHAPES = {RGB: ("(H, W, 3)", 3), DEPTH: ("(H, W)", 2), POINT_CLOUD: ("(N or None, C ≥ 3)", 2), VECTOR: ("(n,)", 1)}

_SCALE = re.compile(r"(?:(\d+(?:\.\d+)?) )?(m|cm|mm)")


@dataclass(frozen=True)
class Sensor:
    """One sensor: what array it gives at every control step, and what its numbers mean.

    name: unique in a contract, among cameras too. kind, shape and dtype:

    ===============  =======================  ====================================================================
    ``rgb``          (H, W, 3) uint8          colour image; stated as a :class:`~forehand.contracts.contract.Camera`
    ``depth``        (H, W) uint16, float32   distance along the optical axis; 0 where nothing was measured
    ``point_cloud``  (N or None, C) float32   x, y, z and C - 3 further channels; a row of NaN is no point
    ``vector``       (n,) float32             force and torque, tactile and other measurements
    ===============  =======================  ====================================================================

    Only the N of a point cloud may be None: the number of points varies from frame to frame, from 0 to ``most``.
    Observations and messages hold the points there are; datasets and batches are filled up to ``most`` with rows of NaN
    (:meth:`padded`).

    unit: of the numbers. That of ``depth`` must be stated, since it is the scale: "m", "cm" or "mm" a count, or a
    multiple such as "0.25 mm". frame: "base", "end_effector", …; role: as a camera's, "static" or "wrist". rate: Hz, if
    it is another than the contract's. Raises :class:`ConfigurationError` for what is no sensor.
    """

    name: str
    kind: str
    shape: Shape
    dtype: str
    unit: str | None = None
    frame: str | None = None
    role: str | None = None
    rate: float | None = None
    most: int | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.name, str):
            raise ConfigurationError(f"A sensor is named by a word, not {self.name!r}.")
        if self.kind not in DTYPES:
            raise ConfigurationError(f"sensor {self.name!r}: unknown kind {self.kind!r}. {nearest(self.kind, DTYPES)}")
        if self.dtype not in DTYPES[self.kind]:
            raise ConfigurationError(
                f"sensor {self.name!r}: the dtype of a {self.kind} is {' or '.join(DTYPES[self.kind])}, not "
                f"{self.dtype!r}."
            )
        if (wrong := _wrong_shape(self.kind, self.shape, self.most)) is not None:
            raise ConfigurationError(f"sensor {self.name!r}: {wrong}.")
        if self.kind == DEPTH and not (isinstance(self.unit, str) and _SCALE.fullmatch(self.unit) and self.scale > 0):
            raise ConfigurationError(
                f"sensor {self.name!r}: the unit of depth is its scale: m, cm, mm, or a multiple such as '0.25 mm', not "
                f"{self.unit!r}."
            )
        if self.rate is not None and not (math.isfinite(self.rate) and self.rate > 0):
            raise ConfigurationError(f"sensor {self.name!r}: a rate is a positive number of Hz, not {self.rate}.")

    @property
    def scale(self) -> float:
        """Metres for each count of ``depth``; 1 for all other kinds."""
        if self.kind != DEPTH:
            return 1.0
        found = _SCALE.fullmatch(str(self.unit))
        assert found, "checked when it was made"
        return float(found[1] or 1) * METRES[found[2]]

    @property
    def full_shape(self) -> tuple[int, ...]:
        """The shape in datasets and batches, with ``most`` for what varies."""
        return tuple(self.most or 0 if size is None else size for size in self.shape)

    def padded(self, values: NDArray[Any]) -> NDArray[Any]:
        """``values`` filled up to :attr:`full_shape` with rows of NaN; as they are where the shape does not vary."""
        if values.shape == self.full_shape:
            return values
        if len(values) > self.full_shape[0]:
            raise ValueError(f"sensor {self.name!r} has {len(values)} points, and by the contract at most {self.most}")
        full = np.full(self.full_shape, np.nan, np.float32)
        full[: len(values)] = values
        return full

    def trimmed(self, values: NDArray[Any]) -> NDArray[Any]:
        """The inverse of :meth:`padded`: ``values`` without the rows of NaN at their end, where the shape varies."""
        if None not in self.shape:
            return values
        there = np.flatnonzero(~np.isnan(values).all(axis=-1))
        return values[: int(there[-1]) + 1 if len(there) else 0]

    def blank(self) -> NDArray[Any]:
        """Zeros of :attr:`full_shape`."""
        return np.zeros(self.full_shape, self.dtype)

    def check(self, values: Any, what: str = "") -> None:
        """Raise :class:`ContractMismatch` unless ``values`` are an array of this sensor, :class:`NotFinite` for NaN.

        what: what the values are, in errors; by default the sensor by name.
        """
        what = what or f"sensor {self.name!r}"
        if not isinstance(values, np.ndarray) or values.dtype != self.dtype or not self._has_shape(values.shape):
            found = f"{values.dtype} {values.shape}" if isinstance(values, np.ndarray) else "missing or no array"
            raise ContractMismatch(
                f"{what} must be {self.dtype} {self.describe_shape()} by the contract, but is {found}."
            )
        if values.dtype == np.float32 and not (finite := np.isfinite(values)).all():
            if self.kind == POINT_CLOUD:
                finite |= np.isnan(values).all(axis=-1, keepdims=True)
                if finite.all():
                    return
            where = tuple(int(i) for i in np.argwhere(~finite)[0])
            advice = {DEPTH: " Give 0 where nothing was measured.", POINT_CLOUD: " Give NaN for whole points only."}
            raise NotFinite(f"{what} is not finite: element {list(where)} is {values[where]}.{advice.get(self.kind, '')}")

    def describe_shape(self) -> str:
        """The shape in words: ``(up to 1024, 3)`` where it varies."""
        sizes = [f"up to {self.most}" if size is None else str(size) for size in self.shape]
        return f"({', '.join(sizes)}{',' * (len(sizes) == 1)})"

    def _has_shape(self, shape: Sequence[int]) -> bool:
        return len(shape) == len(self.shape) and all(
            there <= (self.most or 0) if size is None else there == size
            for there, size in zip(shape, self.shape, strict=True)
        )


def shapes_fit(needed: Sensor, offered: Sensor) -> bool:
    """Whether every array that ``offered`` may give is one that ``needed`` allows."""
    if len(needed.shape) != len(offered.shape):
        return False
    return all(
        most <= (needed.most or 0) if size is None else size == other
        for size, other, most in zip(needed.shape, offered.shape, offered.full_shape, strict=True)
    )


def _wrong_shape(kind: str, shape: Any, most: Any) -> str | None:
    """What is wrong with a shape, and with the most that it varies up to."""
    wanted, count = _SHAPES[kind]
    sizes = shape if isinstance(shape, tuple) and len(shape) == count else (0,)
    varies = kind == POINT_CLOUD and sizes[0] is None
    whole = all(type(size) is int and 0 < size <= LARGEST_SIZE for size in sizes[varies:])
    if not whole or (kind == RGB and sizes[-1] != 3) or (kind == POINT_CLOUD and sizes[-1] < 3):
        return f"the shape of a {kind} is {wanted}, in whole numbers up to {LARGEST_SIZE}, not {shape!r}"
    if varies != (most is not None):
        return "most says up to how many points there are, where the shape has None, and only there"
    if varies and not (type(most) is int and 0 < most <= LARGEST_SIZE):
        return f"most is a number of points from 1 to {LARGEST_SIZE}, not {most!r}"
    return None
