"""Motion limits: every command is clipped to the contract's limits before it is sent.

An action field may state a range (``low``, ``high``), a largest velocity and acceleration, and a workspace. Velocity
is how far a field's target moves in one control step, times the rate; acceleration is the change of that. Velocities stay
such that the target can still be brought to rest, within the allowed acceleration, before its range or workspace ends: so
all limits can always be kept at once. Where they cannot, since the robot began outside of them by more than it may move
in one step, or since its place is unknown, nothing is commanded.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from forehand.contracts.contract import Contract, Field
from forehand.control.rotation_limits import TurnLimiter
from forehand.errors import ConfigurationError, ContractMismatch, UnsafeMotion

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

    :meth:`anchor` it where the robot is; then each command goes through :meth:`allow`, and what the robot made of it
    through :meth:`carried_out`. Raises :class:`ConfigurationError` for limits that cannot be kept: workspaces of
    rotations, and of relative motion in a frame that is not the state's. Absolute rotations are kept by
    :class:`~forehand.control.rotation_limits.TurnLimiter`, everything else element by element.
    """

    def __init__(self, contract: Contract) -> None:
        fields = contract.action
        for field in fields:
            _check(field, contract)
        self._names = _names(contract)
        self._fields = [(f.name, i) for f in fields for i in range(f.size)]
        self._absolute = np.repeat([f.mode != "delta" for f in fields], [f.size for f in fields])
        self._low, self._high = _stack(fields, "low", -np.inf), _stack(fields, "high", np.inf)
        self._floor, self._ceiling = _stack(fields, "workspace_low", -np.inf), _stack(fields, "workspace_high", np.inf)
        self._turns = _turns(contract)
        self._fastest = _stack(fields, "max_velocity", np.inf) / contract.rate
        self._sharpest = _stack(fields, "max_acceleration", np.inf) / contract.rate**2
        for turn in self._turns:
            self._fastest[turn.where] = self._sharpest[turn.where] = np.inf  # not element by element
        moving = np.isfinite(self._fastest) | np.isfinite(self._sharpest)
        bounded = np.isfinite(self._floor) | np.isfinite(self._ceiling)
        self._placed = np.where(self._absolute, moving, bounded)
        """Elements for which it matters where they are."""
        self._measured = np.concatenate([_place_in_state(f, contract) for f in fields])
        self._sensed = self._placed & (self._measured >= 0)
        self._state_size = contract.state_size
        self._target: Vector = np.full(contract.action_size, np.nan)  # nan: not known
        self._moved: Vector = np.zeros(contract.action_size)
        self._reading: Vector = np.full(contract.state_size, np.nan)
        self._fault = ""

    @property
    def place_unknown(self) -> bool:
        """Whether a place that a limit depends on is unknown."""
        return bool((self._sensed & np.isnan(self._target)).any()) or any(turn.place_unknown for turn in self._turns)

    def forget(self) -> None:
        """Discard the position: the robot may be anywhere."""
        self._target = np.full_like(self._target, np.nan)
        self.rest()

    def rest(self) -> None:
        """The robot was brought to rest; :meth:`anchor` sets where."""
        self._moved = np.zeros_like(self._moved)
        self._target = np.where(self._sensed, np.nan, self._target)
        for turn in self._turns:
            turn.rest()

    def anchor(self, state: NDArray[np.float32]) -> None:
        """The robot rests at the position in ``state`` (S,); from an invalid one :meth:`allow` refuses to start."""
        self.rest()
        self._reading, self._fault = _numbers(state, self._state_size)
        places = np.append(self._reading, np.nan)[self._measured]  # nan where the state does not measure it
        with np.errstate(over="ignore", invalid="ignore"):
            fine = np.spacing(np.abs(places).astype(np.float32)) <= np.minimum(self._fastest, self._sharpest)
        self._target = np.where(self._sensed, np.where(fine & np.isfinite(places), places, np.nan), self._target)
        for turn in self._turns:
            turn.anchor(places[turn.where])

    def allow(self, action: NDArray[np.float32]) -> tuple[NDArray[np.float32], list[Clipping]]:
        """The command (A,) nearest to ``action`` that keeps all limits, and its clippings.

        Raises :class:`ContractMismatch` for what is no action: another shape, or numbers that are not finite; and
        :class:`UnsafeMotion` where no command keeps all limits.
        """
        wanted = self._checked(action)
        base = self._base(wanted)
        lows, highs = self._intervals(base)
        origin = np.where(self._absolute, base, 0.0)
        command = (origin + self._motion(wanted - origin, base, lows, highs)).astype(np.float32)
        cut = np.flatnonzero(command != wanted)
        cuts = [self._clipping(i, wanted[i], command[i], lows[:, i], highs[:, i]) for i in cut]
        for turn in self._turns:
            command[turn.where], limit = turn.allow(command[turn.where].astype(np.float64))
            if limit:
                elements = range(turn.where.start, turn.where.stop)
                cuts += [Clipping(*self._fields[i], limit, float(wanted[i]), float(command[i])) for i in elements]
        self._verify(command, wanted, base)
        return command, cuts

    def carried_out(self, command: NDArray[np.float32], done: NDArray[np.float32] | None = None) -> None:
        """``command`` (A,) was sent; ``done`` (A,): the command that the robot reports as carried out.

        Velocity and acceleration are those of what was sent. Where relative motion has led to is reckoned by what was
        done, where that is no more than was sent and stays in the workspace.
        """
        sent = np.asarray(command, np.float64)
        did = sent if done is None else np.asarray(done, np.float64)
        start = np.where(np.isnan(self._target), sent, self._target)
        self._moved = np.where(self._absolute & self._placed, sent - start, sent)
        less = np.where(sent < 0, did >= sent, did <= sent)
        inside = (self._floor <= start + did) & (start + did <= self._ceiling)
        reached = np.where(self._absolute, sent, start + np.where(less & inside, did, sent))
        self._target = np.where(self._placed, reached, np.nan)
        for turn in self._turns:
            turn.carried_out(sent[turn.where])

    def _base(self, wanted: Vector) -> Vector:
        """Where each element is (A,), and 0 where that does not matter."""
        for i in np.flatnonzero(self._sensed & np.isnan(self._target)):
            says = self._fault or f"The state reads {self._reading[self._measured[i]]:.6g} for {self._names[i]}"
            raise UnsafeMotion(
                f"{says}, so its place is unknown and its limits cannot be kept. Nothing was moved. Look after the "
                f"robot's sensors and its driver."
            )
        inside = np.clip(wanted, np.maximum(self._low, self._floor), np.minimum(self._high, self._ceiling))
        return np.where(self._placed, np.where(np.isnan(self._target), inside, self._target), 0.0)

    def _intervals(self, base: Vector) -> tuple[Vector, Vector]:
        """Of how far each target may move in this step: (4, A) lowest and highest by limit, in the order of KINDS."""
        below, above = [], []
        for low, high, absolute in (
            (self._low, self._high, self._absolute),
            (self._floor, self._ceiling, np.ones_like(self._absolute)),
        ):
            below.append(np.where(absolute, -_reach(base - low, self._sharpest), low))
            above.append(np.where(absolute, _reach(high - base, self._sharpest), high))
        below += [-self._fastest, self._moved - self._sharpest]
        above += [self._fastest, self._moved + self._sharpest]
        return np.stack(below), np.stack(above)

    def _motion(self, wanted: Vector, base: Vector, lows: Vector, highs: Vector) -> Vector:
        """The motion (A,) nearest to ``wanted`` within all intervals; :class:`UnsafeMotion` where they share nothing."""
        lowest, highest = lows.max(axis=0), highs.min(axis=0)
        largest = np.abs(np.stack([base, lowest, highest]))
        slack = 4 * np.spacing(np.where(np.isfinite(largest), largest, 0.0).max(axis=0).astype(np.float32))
        for i in np.flatnonzero(lowest - highest > slack):
            least, most = KINDS[int(lows[:, i].argmax())], KINDS[int(highs[:, i].argmin())]
            raise UnsafeMotion(
                f"{self._names[i]} is at {base[i]:.6g} by the state: in one step its {least} allows a motion of no less "
                f"than {lowest[i]:.4g}, and its {most} of no more than {highest[i]:.4g}. Nothing was moved. Bring the "
                f"robot inside its limits by hand, or correct them in its contract."
            )
        motion = np.clip(wanted, lowest, highest)
        return np.clip(motion, lows[:2].max(axis=0), highs[:2].min(axis=0))  # what rounding leaves goes to the others

    def _verify(self, command: NDArray[np.float32], wanted: Vector, base: Vector) -> None:
        """Whatever was reckoned before, nothing leaves that is not finite and inside range and workspace."""
        place = np.where(self._absolute, command, base + command)
        rounding = np.spacing(np.abs(place).astype(np.float32))
        inside = (self._low <= command) & (command <= self._high)
        inside &= (self._floor - rounding <= place) & (place <= self._ceiling + rounding)
        for i in np.flatnonzero(~(inside & np.isfinite(command))):
            raise UnsafeMotion(
                f"The limiter made {command[i]:.6g} of {self._names[i]} = {wanted[i]:.6g}, which is not inside its range "
                f"{self._low[i]:.6g} … {self._high[i]:.6g} and workspace {self._floor[i]:.6g} … {self._ceiling[i]:.6g}. "
                f"Nothing was moved. Correct the limits in the robot's contract."
            )

    def _clipping(self, i: int, wanted: float, allowed: float, lows: Vector, highs: Vector) -> Clipping:
        limit = KINDS[int(highs.argmin() if allowed < wanted else lows.argmax())]
        return Clipping(*self._fields[i], limit, float(wanted), float(allowed))

    def _checked(self, action: NDArray[np.float32]) -> Vector:
        numbers, fault = _numbers(action, len(self._names))
        wrong = np.flatnonzero(~np.isfinite(numbers))
        if fault or len(wrong):
            which = "" if fault else f" {self._names[wrong[0]]} of the action is {numbers[wrong[0]]:g}."
            raise ContractMismatch(
                f"An action of this robot is {len(self._names)} finite numbers, and nothing was moved by this one: "
                f"{action!r}.{which}"
            )
        return numbers


def inside_range(action: NDArray[np.float32], contract: Contract) -> NDArray[np.float32]:
    """A converted ``action`` (A,) clipped to the range of the robot's ``contract``, which conversions may exceed.

    Raises :class:`UnsafeMotion` for numbers that are not finite.
    """
    for name, number in zip(_names(contract), action, strict=True):
        if not np.isfinite(number):
            raise UnsafeMotion(
                f"The conversions of robot.convert make {name} = {number:g} of the action, so nothing was moved by it."
            )
    low, high = _stack(contract.action, "low", -np.inf), _stack(contract.action, "high", np.inf)
    return np.clip(action, low, high).astype(np.float32)


def answered(commanded: NDArray[np.float32], contract: Contract) -> NDArray[np.float32]:
    """What a robot answered to ``act``, (A,) float32.

    Raises :class:`UnsafeMotion` for what is no action: then what it did is unknown.
    """
    numbers, fault = _numbers(commanded, contract.action_size)
    names = _names(contract)
    wrong = [f"{name} = {number:g}" for name, number in zip(names, numbers, strict=True) if not np.isfinite(number)]
    if fault or wrong:
        raise UnsafeMotion(
            f"The robot answered act() with {repr(commanded) if fault else ', '.join(wrong)}, so what it did is not "
            f"known. A driver returns the {len(names)} finite numbers that were really commanded."
        )
    return numbers.astype(np.float32)


def _names(contract: Contract) -> list[str]:
    return [f"{f.name}[{i}]" for f in contract.action for i in range(f.size)]


def _numbers(vector: object, size: int) -> tuple[Vector, str]:
    """``vector`` in the precision of commands, (size,), and what is wrong with it if it is none: then it is all NaN."""
    numbers = np.asarray(vector)
    if numbers.shape != (size,) or numbers.dtype.kind not in "fiu":
        return np.full(size, np.nan), f"The state is {numbers.dtype} {numbers.shape} instead of float32 ({size},)"
    with np.errstate(over="ignore"):
        return numbers.astype(np.float32).astype(np.float64), ""


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
    """One bound of all fields, (A,), in the precision of commands, so that a command equal to it is not clipped."""
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
    """Position in the state of the quantity that ``field`` commands, or −1 where it is not measured."""
    start = 0
    for measured in contract.state:
        if measured.name == field.name and measured.size == field.size and measured.mode != "delta":
            # Joints may be measured beyond what may be commanded; a gripper's range is what its numbers mean.
            alike = ("unit", "frame", "rotation") if field.gripper is None else ("unit", "gripper", "low", "high")
            same = all(
                getattr(measured, what) in (None, getattr(field, what)) or getattr(field, what) is None for what in alike
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
            f"(forehand.control.poses)."
        )
    measured = _place_in_state(field, contract)[0] >= 0
    if not measured and ((bounded and relative) or (field.gripper is None and (bounded or not relative))):
        raise ConfigurationError(
            f"{where}: the state has no field {field.name!r} of the same size, unit and frame to start from. "
            f"Add it to the state, or limit target poses (forehand.control.poses)."
        )
    no_rest = [
        (low, high)
        for low, high in zip(field.low or (-1.0,) * field.size, field.high or (1.0,) * field.size, strict=True)
        if not low <= 0 <= high
    ]
    if relative and no_rest:
        raise ConfigurationError(f"{where}: its range {no_rest[0]} does not hold 0, so it can never rest.")
