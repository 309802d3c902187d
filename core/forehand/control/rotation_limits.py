"""Angular velocity limit for absolute rotations, about any axis."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from forehand.contracts.contract import Field
from forehand.contracts.rotations import Matrix, form, from_axis_angle, to_axis_angle
from forehand.errors import ConfigurationError, ContractMismatch, UnsafeMotion

Vector = NDArray[np.float64]

MOST = 1000.0
"""Angles beyond this many rad are no rotation: rounding alone turns them."""
SLACK = 0.1
"""By how much the length of a measured quaternion or matrix may be wrong."""


class TurnLimiter:
    """Keeps the commands of one absolute rotation ``field``, the elements ``where`` of an action, slow enough.

    Turns do not add up element by element. So its ``max_velocity`` and ``max_acceleration`` hold for the turn from one
    target to the next, an axis times an angle in the frame of the rotation: the length of it, and of its change. That is
    one number each, the same for all elements: rad/s and rad/s², or degrees where the unit is ``deg``.
    """

    def __init__(self, field: Field, where: slice, rate: float) -> None:
        """Raises :class:`ConfigurationError` for bounds that differ from element to element, or a range that binds."""
        self.where = where
        self._name = field.name
        self._to_matrix, self._from_matrix = form(str(field.rotation))
        self._unit = np.pi / 180 if field.unit == "deg" else 1.0
        self._angles = field.size == 3
        self._fastest = self._bound(field, "max_velocity") / rate
        self._sharpest = self._bound(field, "max_acceleration") / rate**2
        whole = np.pi / self._unit if self._angles else 1.0
        for bound in (field.low, field.high):
            if bound is not None and min(map(abs, bound)) < whole - 1e-3:
                raise ConfigurationError(
                    f"Action field {field.name!r} states a limit that cannot be kept: a range within ±{whole:.4g} beside "
                    f"a largest velocity or acceleration of an absolute rotation. Leave one of the two out."
                )
        self._target: Matrix | None = None
        self._moved: Vector = np.zeros(3)
        self._reading: Vector = np.full(field.size, np.nan)

    @property
    def place_unknown(self) -> bool:
        """Whether its present rotation is not known."""
        return self._target is None

    def anchor(self, numbers: Vector) -> None:
        """The rotation rests at ``numbers``; what is no rotation, :meth:`allow` refuses to start from."""
        self.rest()
        self._reading = numbers
        matrix = self._matrix(numbers)
        self._target = matrix if self._is_rotation(numbers, matrix) else None

    def rest(self) -> None:
        """It was brought to rest; :meth:`anchor` sets where."""
        self._target, self._moved = None, np.zeros(3)

    def allow(self, wanted: Vector) -> tuple[Vector, str | None]:
        """The allowed rotation on the way to ``wanted``, and the limit that cut it, if one did.

        Raises :class:`ContractMismatch` for what is no rotation, :class:`UnsafeMotion` where it is not known.
        """
        rotation = self._matrix(wanted)
        if not np.isfinite(rotation).all() or self._beyond(wanted):
            raise ContractMismatch(f"{self._name!r} must be a rotation, and nothing was moved by {wanted}.")
        if self._target is None:
            raise UnsafeMotion(
                f"The state reads {self._reading} for {self._name!r}, which is no rotation, so its limits cannot be "
                f"kept. Nothing was moved. Look after the robot's sensors and its driver."
            )
        turn, limit = to_axis_angle(rotation @ self._target.T), None
        if (length := float(np.linalg.norm(turn))) > self._fastest:
            turn, limit = turn * (self._fastest / length), "velocity"
        change = turn - self._moved
        if (length := float(np.linalg.norm(change))) > self._sharpest:  # what was moved is slow enough, so this is, too
            turn, limit = self._moved + change * (self._sharpest / length), "acceleration"
        return (wanted, None) if limit is None else (self._numbers(from_axis_angle(turn) @ self._target), limit)

    def carried_out(self, numbers: Vector) -> None:
        """The rotation ``numbers`` was sent."""
        rotation = self._matrix(numbers)
        if self._target is not None:
            self._moved = to_axis_angle(rotation @ self._target.T)
        self._target = rotation

    def _matrix(self, numbers: Vector) -> Matrix:
        with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
            return self._to_matrix(numbers * self._unit if self._angles else numbers)

    def _is_rotation(self, numbers: Vector, matrix: Matrix) -> bool:
        """Whether ``numbers`` may have been measured: angles of some turns, or a form of about the length that it has."""
        if self._angles or not np.isfinite(matrix).all():
            return bool(np.isfinite(matrix).all()) and not self._beyond(numbers)
        return abs(float(np.linalg.norm(numbers) - np.linalg.norm(self._numbers(matrix)))) < SLACK

    def _beyond(self, numbers: Vector) -> bool:
        return self._angles and float(np.linalg.norm(numbers)) * self._unit >= MOST

    def _numbers(self, matrix: Matrix) -> Vector:
        numbers = self._from_matrix(matrix)
        return numbers / self._unit if self._angles else numbers

    def _bound(self, field: Field, name: str) -> float:
        bounds = getattr(field, name)
        if bounds is None:
            return np.inf
        if len(set(bounds)) > 1:
            raise ConfigurationError(
                f"Action field {field.name!r} states a limit that cannot be kept: {name}={list(bounds)}. An absolute "
                f"rotation turns about any axis, so write the same number for each element."
            )
        return float(bounds[0]) * self._unit
