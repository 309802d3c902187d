"""Fields of delta actions: how numbers of an action are made relative to a reference, and absolute again. In float64.

A reference is an action, too: the one that would keep the robot where it is, or the one before. All arrays may have any
dimensions in front of their last.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from forehand.errors import ConfigurationError

Numbers = NDArray[np.float64]

SIZES = {"euler_xyz_extrinsic": 3, "axis_angle": 3, "quaternion_xyzw": 4, "quaternion_wxyz": 4, "rotation_6d": 6}
"""Forms of rotations (:data:`forehand.contracts.rotations.FORMS`), and how many numbers each has."""


class DeltaField(Protocol):
    """Some consecutive numbers of an action: n of them, which are m when they are predicted."""

    def reference(self, state: Numbers) -> Numbers:
        """The action (…, n) that keeps what the ``state`` (…, S) measures."""

    def relative(self, action: Numbers, reference: Numbers) -> Numbers:
        """(…, n) and (…, n) → (…, m)."""

    def absolute(self, delta: Numbers, reference: Numbers) -> Numbers:
        """(…, m) and (…, n) → (…, n)."""


@dataclass(frozen=True)
class Unchanged:
    """Numbers that are predicted as they are: ``size`` of them."""

    size: int

    def reference(self, state: Numbers) -> Numbers:
        """None is needed: zeros."""
        return np.zeros((*state.shape[:-1], self.size))

    def relative(self, action: Numbers, reference: Numbers) -> Numbers:
        """The action."""
        return action

    def absolute(self, delta: Numbers, reference: Numbers) -> Numbers:
        """The same."""
        return delta


@dataclass(frozen=True)
class Difference:
    """Numbers that are subtracted, such as positions and joint angles.

    state: where the state measures them, in a unit that is ``scale`` of the action's.
    """

    state: slice
    scale: float = 1.0

    def reference(self, state: Numbers) -> Numbers:
        """What is measured, in the action's unit."""
        return state[..., self.state] * self.scale

    def relative(self, action: Numbers, reference: Numbers) -> Numbers:
        """action - reference."""
        return action - reference

    def absolute(self, delta: Numbers, reference: Numbers) -> Numbers:
        """reference + delta."""
        return reference + delta


@dataclass(frozen=True)
class RotationForm:
    """A form of rotations, as numbers: ``name`` is a contract's, ``unit`` is how many rad 1 is, for three numbers."""

    name: str
    unit: float = 1.0

    @property
    def size(self) -> int:
        """How many numbers it has."""
        return SIZES[self.name]

    def rotations(self, numbers: Numbers) -> Any:
        """scipy's Rotation of n rows (n, size), all of which are rotations (:meth:`is_rotation`)."""
        from scipy.spatial.transform import Rotation

        if self.name == "euler_xyz_extrinsic":
            return Rotation.from_euler("xyz", numbers * self.unit)
        if self.name == "axis_angle":
            return Rotation.from_rotvec(numbers * self.unit)
        if self.name == "rotation_6d":
            return Rotation.from_matrix(_orthonormal(numbers))
        return Rotation.from_quat(numbers, scalar_first=self.name == "quaternion_wxyz")

    def numbers(self, rotations: Any) -> Numbers:
        """(n, size) of scipy's Rotation of n; of quaternions the one with w ≥ 0."""
        if self.name == "euler_xyz_extrinsic":
            return np.asarray(rotations.as_euler("xyz", suppress_warnings=True)) / self.unit
        if self.name == "axis_angle":
            return np.asarray(rotations.as_rotvec()) / self.unit
        if self.name == "rotation_6d":
            return np.asarray(rotations.as_matrix()[:, :, :2].swapaxes(1, 2).reshape(-1, 6))
        return np.asarray(rotations.as_quat(canonical=True, scalar_first=self.name == "quaternion_wxyz"))

    def is_rotation(self, numbers: Numbers) -> NDArray[np.bool_]:
        """Which rows (n, size) are rotations: finite, and with a direction where the form needs one. (n,)"""
        finite = np.isfinite(numbers).all(axis=-1)
        if self.size == 3:
            return np.asarray(finite)
        with np.errstate(invalid="ignore", over="ignore"):
            if self.size == 4:
                return np.asarray(finite & (np.linalg.norm(numbers, axis=-1) > 1e-12))
            a, b = numbers[:, :3], numbers[:, 3:]
            return np.asarray(finite & (np.linalg.norm(np.cross(a, b), axis=-1) > 1e-12))


@dataclass(frozen=True)
class Turn:
    """A rotation: the turn from the reference to the action, about axes of the base or, with ``moving``, its own.

    state: where the state measures the rotation, in the form ``measured``; action, delta: the forms of the action and of
    what is predicted.
    """

    state: slice
    measured: RotationForm
    action: RotationForm
    delta: RotationForm
    moving: bool = False

    def reference(self, state: Numbers) -> Numbers:
        """What is measured, in the action's form."""
        numbers = state[..., self.state]
        if self.measured == self.action:
            return numbers
        return _compose(self.measured, self.measured, self.action, numbers, numbers, lambda one, _: one)

    def relative(self, action: Numbers, reference: Numbers) -> Numbers:
        """The turn."""
        return _compose(self.action, self.action, self.delta, action, reference, self._turn)

    def absolute(self, delta: Numbers, reference: Numbers) -> Numbers:
        """The reference, turned."""
        return _compose(self.delta, self.action, self.action, delta, reference, self._turned)

    def _turn(self, action: Any, reference: Any) -> Any:
        return reference.inv() * action if self.moving else action * reference.inv()

    def _turned(self, delta: Any, reference: Any) -> Any:
        return reference * delta if self.moving else delta * reference


@dataclass(frozen=True)
class RelativePose:
    """A position of three numbers and the rotation behind it, seen from the reference: T = T_reference · Δ."""

    position: Difference
    turn: Turn

    def reference(self, state: Numbers) -> Numbers:
        """The measured pose."""
        return np.concatenate([self.position.reference(state), self.turn.reference(state)], axis=-1)

    def relative(self, action: Numbers, reference: Numbers) -> Numbers:
        """Where the action's pose is, seen from the reference."""
        moved = self._seen(action[..., :3] - reference[..., :3], reference[..., 3:], inverse=True)
        return np.concatenate([moved, self.turn.relative(action[..., 3:], reference[..., 3:])], axis=-1)

    def absolute(self, delta: Numbers, reference: Numbers) -> Numbers:
        """The pose in the frame of the reference's."""
        moved = reference[..., :3] + self._seen(delta[..., :3], reference[..., 3:], inverse=False)
        return np.concatenate([moved, self.turn.absolute(delta[..., 3:], reference[..., 3:])], axis=-1)

    def _seen(self, vectors: Numbers, rotation: Numbers, *, inverse: bool) -> Numbers:
        flat, form = rotation.reshape(-1, rotation.shape[-1]), self.turn.action
        there = form.is_rotation(flat)
        turned = np.full((len(flat), 3), np.nan)
        turned[there] = form.rotations(flat[there]).apply(vectors.reshape(-1, 3)[there], inverse=inverse)
        return turned.reshape(vectors.shape)


def rotation_form(name: str | None, unit: str | None, where: str) -> RotationForm:
    """The form that a contract's field states; raises :class:`ConfigurationError` for one that is not known."""
    if name not in SIZES:
        raise ConfigurationError(f"{where} has the rotation {name!r}. Known are {', '.join(SIZES)}.")
    return RotationForm(name, np.pi / 180 if unit == "deg" and SIZES[name] == 3 else 1.0)


def _compose(
    one: RotationForm, other: RotationForm, result: RotationForm, a: Numbers, b: Numbers, composed: Any
) -> Numbers:
    """``composed`` of the rotations ``a`` and ``b``, row by row; NaN where one of them is no rotation."""
    first, second = a.reshape(-1, a.shape[-1]), b.reshape(-1, b.shape[-1])
    there = one.is_rotation(first) & other.is_rotation(second)
    found = np.full((len(first), result.size), np.nan)
    if there.any():
        found[there] = result.numbers(composed(one.rotations(first[there]), other.rotations(second[there])))
    return found.reshape(*a.shape[:-1], result.size)


def _orthonormal(numbers: Numbers) -> Numbers:
    """(n, 3, 3) of the first two columns (n, 6), by Gram and Schmidt (:func:`forehand.contracts.rotations.from_6d`)."""
    a, b = numbers[:, :3], numbers[:, 3:]
    first = a / np.linalg.norm(a, axis=-1, keepdims=True)
    second = b - (first * b).sum(axis=-1, keepdims=True) * first
    second = second / np.linalg.norm(second, axis=-1, keepdims=True)
    columns: Sequence[Numbers] = (first, second, np.cross(first, second))
    return np.stack(columns, axis=-1)
