"""How fast an absolute rotation may turn, about whatever axis."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from forehand.contract import Field
from forehand.errors import ConfigurationError, ContractMismatch
from forehand.rotations import Matrix, form, from_axis_angle, to_axis_angle

Vector = NDArray[np.float64]


class TurnLimiter:
    """Keeps the commands of one absolute rotation ``field``, the elements ``where`` of an action, slow enough.

    Turns do not add up element by element. So its ``max_velocity`` and ``max_acceleration`` hold for the turn from one
    target to the next, an axis times an angle in the frame that the rotation is told in: the length of it, and of its
    change. That is one number each, the same for all elements: rad/s and rad/s², or degrees where the unit is ``deg``.
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

    def anchor(self, numbers: Vector) -> None:
        """The rotation rests at ``numbers``."""
        self._target = self._matrix(numbers)
        self.rest()

    def rest(self) -> None:
        """It was brought to rest."""
        self._moved = np.zeros(3)

    def allow(self, wanted: Vector) -> tuple[Vector, str | None]:
        """The allowed rotation on the way to ``wanted``, and the limit that cut it, if one did."""
        rotation = self._matrix(wanted)
        if self._target is None:
            return wanted, None
        turn, limit = to_axis_angle(rotation @ self._target.T), None
        if (length := float(np.linalg.norm(turn))) > self._fastest:
            turn, limit = turn * (self._fastest / length), "velocity"
        change = turn - self._moved
        if (length := float(np.linalg.norm(change))) > self._sharpest:  # what was moved is slow enough, so this is, too
            turn, limit = self._moved + change * (self._sharpest / length), "acceleration"
        return (wanted, None) if limit is None else (self._numbers(from_axis_angle(turn) @ self._target), limit)

    def carried_out(self, numbers: Vector) -> None:
        """The robot turned to ``numbers``."""
        rotation = self._matrix(numbers, strict=False)
        if not np.isfinite(rotation).all():
            return  # a robot that answers nonsense; what it did is not known
        if self._target is not None:
            self._moved = to_axis_angle(rotation @ self._target.T)
        self._target = rotation

    def _matrix(self, numbers: Vector, strict: bool = True) -> Matrix:
        with np.errstate(invalid="ignore", divide="ignore"):
            matrix = self._to_matrix(numbers * self._unit if self._angles else numbers)
        if strict and not np.isfinite(matrix).all():
            raise ContractMismatch(f"{self._name!r} must be a rotation, and nothing was moved by {numbers}.")
        return matrix

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
