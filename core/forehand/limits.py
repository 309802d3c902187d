"""What protects a robot: every command is brought inside the contract's limits before it leaves.

An action field may state a range (``low``, ``high``), a largest velocity and acceleration, and a workspace. Velocity
is how far a field's target moves in one control step, times the rate; acceleration is the change of that. Velocities stay
such that the target can still be brought to rest, within the allowed acceleration, before its range or workspace ends: so
all limits can always be kept at once. A target that is outside to begin with comes inside as fast as the others allow.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from forehand.contract import Contract, Field
from forehand.errors import ConfigurationError, ContractMismatch
from forehand.turn_limits import TurnLimiter

Vector = NDArray[np.float64]

KINDS = ("range", "workspace", "velocity", "acceleration")


@dataclass(frozen=True)
class Clipping:
    """One number of a command that was cut: ``field[element]``, by which limit, what was wanted and what was allowed."""

    field: str
    element: int
    limit: str
    wanted: float
    allowed: float

    def __str__(self) -> str:
        return f"{self.field}[{self.element}]: wanted {self.wanted:.4g}, allowed {self.allowed:.4g} ({self.limit})"


class Limiter:
    """Keeps one robot's commands inside ``contract``'s limits.

    :meth:`anchor` it where the robot is; then each command goes through :meth:`allow`, and what the robot made of it is
    told to :meth:`carried_out`. Raises :class:`ConfigurationError` for limits that cannot be kept: workspaces of
    rotations, and of relative motion in a frame that is not the state's. Absolute rotations are kept by
    :class:`~forehand.turn_limits.TurnLimiter`, everything else element by element.
    """

    def __init__(self, contract: Contract) -> None:
        fields = contract.action
        for field in fields:
            _check(field, contract)
        self._names = [(f.name, i) for f in fields for i in range(f.size)]
        self._absolute = np.repeat([f.mode != "delta" for f in fields], [f.size for f in fields])
        self._low, self._high = _stack(fields, "low", -np.inf), _stack(fields, "high", np.inf)
        self._floor, self._ceiling = _stack(fields, "workspace_low", -np.inf), _stack(fields, "workspace_high", np.inf)
        self._turns = _turns(contract)
        self._fastest = _stack(fields, "max_velocity", np.inf) / contract.rate
        self._sharpest = _stack(fields, "max_acceleration", np.inf) / contract.rate**2
        for turn in self._turns:
            self._fastest[turn.where] = self._sharpest[turn.where] = np.inf  # not element by element
        self._measured = np.concatenate([_place_in_state(f, contract) for f in fields])
        self._target: Vector = np.full(contract.action_size, np.nan)  # nan: not known
        self._moved: Vector = np.zeros(contract.action_size)

    def anchor(self, state: NDArray[np.float32]) -> None:
        """The robot rests where ``state`` (S,) says it is."""
        numbers = np.asarray(state, np.float64)
        self._target = np.where(self._measured >= 0, numbers[self._measured], np.nan)
        for turn in self._turns:
            turn.anchor(numbers[self._measured[turn.where]])
        self.rest()

    def rest(self) -> None:
        """The robot was brought to rest."""
        self._moved = np.zeros_like(self._moved)
        for turn in self._turns:
            turn.rest()

    def allow(self, action: NDArray[np.float32]) -> tuple[NDArray[np.float32], list[Clipping]]:
        """The command (A,) nearest to ``action`` that keeps all limits, and where it had to be cut.

        Raises :class:`ContractMismatch` for what is no action: another shape, or numbers that are not finite.
        """
        wanted = self._checked(action)
        unknown = np.where(self._absolute, np.clip(wanted, self._low, self._high), 0.0)
        target = np.where(np.isnan(self._target), unknown, self._target)
        base = np.where(self._absolute, target, 0.0)
        lows, highs = self._intervals(target)
        motion = np.clip(wanted - base, lows[:2].max(axis=0), highs[:2].min(axis=0))
        motion = np.clip(motion, lows[2:].max(axis=0), highs[2:].min(axis=0))  # from outside it comes inside slowly
        command = (base + motion).astype(np.float32)
        cut = np.flatnonzero(command != wanted)
        cuts = [self._clipping(i, wanted[i], command[i], lows[:, i], highs[:, i]) for i in cut]
        for turn in self._turns:
            command[turn.where], limit = turn.allow(command[turn.where].astype(np.float64))
            if limit:
                elements = range(turn.where.start, turn.where.stop)
                cuts += [Clipping(*self._names[i], limit, float(wanted[i]), float(command[i])) for i in elements]
        return command, cuts

    def carried_out(self, command: NDArray[np.float32]) -> None:
        """The robot did ``command`` (A,), which may be less than it was asked to."""
        done = np.asarray(command, np.float64)
        if done.shape != self._target.shape:
            return  # a robot that answers nonsense; what it did is not known
        start = np.where(np.isnan(self._target), np.where(self._absolute, done, 0.0), self._target)
        self._moved = np.where(self._absolute, done - start, done)
        self._target = start + self._moved
        for turn in self._turns:
            turn.carried_out(done[turn.where])

    def _intervals(self, target: Vector) -> tuple[Vector, Vector]:
        """Of how far each target may move in this step: (4, A) lowest and highest by limit, in the order of KINDS."""
        below, above = [], []
        for low, high, absolute in (
            (self._low, self._high, self._absolute),
            (self._floor, self._ceiling, np.ones_like(self._absolute)),
        ):
            below.append(np.where(absolute, -_reach(target - low, self._sharpest), low))
            above.append(np.where(absolute, _reach(high - target, self._sharpest), high))
        below += [-self._fastest, self._moved - self._sharpest]
        above += [self._fastest, self._moved + self._sharpest]
        return np.stack(below), np.stack(above)

    def _clipping(self, i: int, wanted: float, allowed: float, lows: Vector, highs: Vector) -> Clipping:
        limit = KINDS[int(highs.argmin() if allowed < wanted else lows.argmax())]
        return Clipping(*self._names[i], limit, float(wanted), float(allowed))

    def _checked(self, action: NDArray[np.float32]) -> Vector:
        numbers = np.asarray(action)
        if numbers.shape != self._target.shape or numbers.dtype.kind not in "fiu" or not np.isfinite(numbers).all():
            raise ContractMismatch(
                f"An action of this robot is {len(self._target)} finite numbers, and nothing was moved by this one: "
                f"{action!r}."
            )
        return numbers.astype(np.float32).astype(np.float64)


def _reach(room: Vector, sharpest: Vector) -> Vector:
    """The farthest one may move in a step so that braking by ``sharpest`` a step ends within ``room``; both (A,).

    Moving d, then d − a, d − 2a, … covers (m + 1) d − a m (m + 1) / 2 with m = ⌊d / a⌋; this is its inverse. Outside of
    the room (negative) it is the way back.
    """
    bounded = np.isfinite(room) & np.isfinite(sharpest) & (room > 0)
    r, a = np.where(bounded, room, 1.0), np.where(bounded, sharpest, 1.0)
    m = np.floor((np.sqrt(1 + 8 * r / a) - 1) / 2)
    return np.where(bounded, (r + a * m * (m + 1) / 2) / (m + 1), room)


def _stack(fields: tuple[Field, ...], name: str, unstated: float) -> Vector:
    """One bound of all fields, (A,), in the precision of commands: who asks for just the bound is not cut."""
    parts = [np.full(f.size, unstated) if getattr(f, name) is None else np.asarray(getattr(f, name)) for f in fields]
    return np.concatenate(parts).astype(np.float32).astype(np.float64)


def _turns(contract: Contract) -> list[TurnLimiter]:
    """A limiter for each absolute rotation whose velocity or acceleration is limited."""
    turns, start = [], 0
    for field in contract.action:
        if _turning(field):
            turns.append(TurnLimiter(field, slice(start, start + field.size), contract.rate))
        start += field.size
    return turns


def _turning(field: Field) -> bool:
    moving = field.max_velocity is not None or field.max_acceleration is not None
    return field.rotation is not None and field.mode != "delta" and moving


def _place_in_state(field: Field, contract: Contract) -> NDArray[np.int64]:
    """Where the state tells what ``field`` commands, or −1 where it does not."""
    start = 0
    for measured in contract.state:
        if measured.name == field.name and measured.size == field.size and measured.mode != "delta":
            same = all(
                getattr(measured, what) in (None, getattr(field, what)) or getattr(field, what) is None
                for what in ("unit", "frame", "rotation")
            )
            if same:
                return start + np.arange(field.size)
        start += measured.size
    return np.full(field.size, -1)


def _check(field: Field, contract: Contract) -> None:
    relative = field.mode == "delta"
    moving = field.max_velocity is not None or field.max_acceleration is not None
    bounded = field.workspace_low is not None or field.workspace_high is not None
    if not (moving or bounded):
        return
    where = f"Action field {field.name!r} states a limit that cannot be kept"
    if field.rotation is not None and bounded:
        raise ConfigurationError(
            f"{where}: a workspace holds places, not turns. Limit the range of the joints, or target poses "
            f"(forehand.poses)."
        )
    measured = _place_in_state(field, contract)[0] >= 0
    if not measured and field.gripper is None and (bounded or not relative):
        raise ConfigurationError(
            f"{where}: the state has no field {field.name!r} of the same size, unit and frame to say where it starts. "
            f"Add it to the state, or limit target poses (forehand.poses)."
        )
    no_rest = [
        (low, high)
        for low, high in zip(field.low or (-1.0,) * field.size, field.high or (1.0,) * field.size, strict=True)
        if not low <= 0 <= high
    ]
    if relative and no_rest:
        raise ConfigurationError(f"{where}: its range {no_rest[0]} does not hold 0, so it can never rest.")
