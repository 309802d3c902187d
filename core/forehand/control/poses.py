"""Target poses from relative actions, for arm drivers that take absolute poses."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from forehand.contracts.rotations import Matrix, Numbers, Vector, form, from_axis_angle, to_axis_angle
from forehand.errors import ConfigurationError, ContractMismatch, UnsafeMotion


@dataclass(frozen=True, eq=False)
class Pose:
    """A position (3,) in m and a rotation matrix (3, 3), both in the base frame."""

    position: Vector
    rotation: Matrix

    @classmethod
    def of(cls, position: Numbers, rotation: Numbers, named: str = "euler_xyz_extrinsic") -> Pose:
        """A pose from its position and its rotation in one of the forms of :mod:`forehand.contracts.rotations`."""
        return cls(np.array(position, np.float64), form(named)[0](rotation))

    def numbers(self, named: str = "euler_xyz_extrinsic") -> NDArray[np.float32]:
        """Position and rotation in one vector, the latter in the form ``named``."""
        return np.concatenate([self.position, form(named)[1](self.rotation)]).astype(np.float32)


class TargetPose:
    """The pose that an arm is to be at, moved by each relative action: T ← T · Δ.

    An action's six numbers are a motion expressed in the last *target* pose: position in units of ``metres``, rotation
    (``rotation``: a form of three numbers) in units of ``radians``; a policy whose actions are metres and radians has 1
    for both. Because the target moves, and not the measured pose, an arm that lags behind does not bend the path.

    Begin with :meth:`reset` at the measured pose, at the start of an episode and after every hold; never in between.
    ``workspace``: lowest and highest target position (m), each (3,); ``leash``, ``turn_leash``: how far (m, rad) the
    target may be from the measured pose, so that an arm that is blocked does not gather force.
    """

    def __init__(
        self,
        *,
        metres: float = 0.02,
        radians: float = 0.05,
        rotation: str = "euler_xyz_extrinsic",
        workspace: tuple[Numbers, Numbers] | None = None,
        leash: float = np.inf,
        turn_leash: float = np.inf,
    ) -> None:
        if not all(number > 0 for number in (metres, radians, leash, turn_leash)):  # nor NaN
            raise ConfigurationError(
                f"A target pose needs positive metres, radians, leash and turn_leash, not {metres}, {radians}, {leash} "
                f"and {turn_leash}."
            )
        if len(form(rotation)[1](np.eye(3))) != 3:
            raise ConfigurationError(f"A relative pose turns by three numbers, such as an axis_angle, not a {rotation}.")
        self._scale = np.repeat([metres, radians], 3)
        self._to_matrix, self._from_matrix = form(rotation)
        self._low, self._high = (np.asarray(b, np.float64) for b in workspace or ([-np.inf] * 3, [np.inf] * 3))
        if self._low.shape != (3,) or self._high.shape != (3,) or not (self._low <= self._high).all():
            raise ConfigurationError(
                f"A target pose's workspace is its lowest and highest position, (3,) each, not {workspace}."
            )
        self._leash, self._turn_leash = leash, turn_leash
        self._target: Pose | None = None

    @property
    def target(self) -> Pose:
        """Where the arm is to be now."""
        if self._target is None:
            raise ConfigurationError("A target pose has to be reset to the measured pose before it can be moved.")
        return self._target

    def reset(self, measured: Pose) -> None:
        """Set the target to the measured pose. For an invalid pose, raises :class:`UnsafeMotion`, without a target."""
        self._target = None
        self._target = _checked(measured)

    def move(self, action: NDArray[np.floating], measured: Pose | None = None) -> Pose:
        """The next target, from the action's six numbers; ``measured`` is what the leashes are tied to.

        Before anything changes, raises :class:`ContractMismatch` for anything but six finite numbers, and
        :class:`UnsafeMotion` where ``measured`` is no pose, or no target is both in the workspace and on the leash.
        """
        numbers = np.asarray(action, np.float64)
        if numbers.shape != (6,) or not np.isfinite(numbers).all():
            raise ContractMismatch(f"A relative pose is six finite numbers, and nothing was moved by {action!r}.")
        motion = numbers * self._scale
        last = self.target
        position = last.position + last.rotation @ motion[:3]
        rotation = last.rotation @ self._to_matrix(motion[3:])
        if measured is not None:
            _checked(measured)
            position = measured.position + _shortened(position - measured.position, self._leash)
            lead = to_axis_angle(measured.rotation.T @ rotation)
            rotation = measured.rotation @ from_axis_angle(_shortened(lead, self._turn_leash))
        target = _checked(Pose(np.clip(position, self._low, self._high), rotation), "target")
        if measured is not None and np.linalg.norm(target.position - measured.position) > self._leash * (1 + 1e-9):
            raise UnsafeMotion(
                f"The arm is at {measured.position}, farther outside of its workspace {self._low} … {self._high} than "
                f"its leash of {self._leash} m, so no target keeps both. Nothing was moved. Bring it inside by hand."
            )
        self._target = target
        return target

    def action(self, before: Pose, after: Pose) -> NDArray[np.float32]:
        """The action (6,) that moves the target from one pose to another: the inverse of :meth:`move`.

        Between the last target and what :meth:`move` made of an action, it is what was really commanded; between the
        targets of a recording, it is the label to learn.
        """
        motion = [
            before.rotation.T @ (after.position - before.position),
            self._from_matrix(before.rotation.T @ after.rotation),
        ]
        return np.asarray(np.concatenate(motion) / self._scale, np.float32)


def _checked(pose: Pose, what: str = "measured") -> Pose:
    """``pose``; raises :class:`UnsafeMotion` if it is none: not finite, or without a rotation."""
    position, rotation = np.asarray(pose.position), np.asarray(pose.rotation)
    if position.shape != (3,) or not np.isfinite(position).all():
        raise UnsafeMotion(f"The {what} position is {position}, not three finite numbers. Nothing was moved.")
    if rotation.shape != (3, 3) or not np.allclose(rotation @ rotation.T, np.eye(3), atol=1e-3):
        raise UnsafeMotion(f"The {what} rotation is {rotation.tolist()}, which is no rotation. Nothing was moved.")
    return pose


def _shortened(vector: Vector, longest: float) -> Vector:
    length = float(np.linalg.norm(vector))
    return vector if length <= longest else vector * (longest / length)
