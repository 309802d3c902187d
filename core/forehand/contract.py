"""What is measured and what is commanded, described so that two sides can be compared before anything moves.

A dataset, a checkpoint and a robot each carry a :class:`Contract`. ``None`` in a field means "not stated": it is compared
with nothing and listed as unchecked, so that datasets which say little can still be used knowingly.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from forehand.errors import ContractMismatch

Bounds = tuple[float, ...]

PROTECTION = ("max_velocity", "max_acceleration", "workspace_low", "workspace_high")
"""What a robot's contract says to protect it. It is the robot's own, and kept there, so no policy has to agree."""


@dataclass(frozen=True)
class Camera:
    """One camera: ``height`` × ``width`` uint8 RGB; ``role`` is ``"static"`` (fixed in the world) or ``"wrist"``."""

    name: str
    height: int
    width: int
    role: str | None = None


@dataclass(frozen=True)
class Field:
    """A run of ``size`` numbers in the state or action vector that mean one thing.

    ``unit``: "m", "rad", "1", …; ``frame``: "base", "end_effector", …; ``rotation``: "euler_xyz_extrinsic",
    "axis_angle", "quaternion_xyzw", …; ``mode``: "absolute" or "delta" (relative to the last *target* pose);
    ``gripper``: what a larger number means, "open" or "closed"; ``low``/``high``: the range, one number for each element.

    What protects a robot, one number for each element, kept by :mod:`forehand.limits`: ``max_velocity`` (unit/s) and
    ``max_acceleration`` (unit/s²) of what is commanded, ``workspace_low``/``workspace_high``: where it may lead to.
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
        for low, high in ((self.low, self.high), (self.workspace_low, self.workspace_high)):
            if low is not None and high is not None and any(a > b for a, b in zip(low, high, strict=True)):
                raise ValueError(f"field {self.name!r} has a lower bound {low} above its upper bound {high}")
        for most in (self.max_velocity, self.max_acceleration):
            if most is not None and not all(number > 0 for number in most):
                raise ValueError(
                    f"field {self.name!r} has a largest velocity or acceleration that is not positive: {most}"
                )


@dataclass(frozen=True)
class Mismatch:
    """One difference: where it is, what is needed and what is offered."""

    where: str
    needed: Any
    offered: Any

    def __str__(self) -> str:
        return f"{self.where}: needed {self.needed!r}, offered {self.offered!r}"


@dataclass(frozen=True)
class Contract:
    """Cameras, state layout, action layout and control rate (Hz)."""

    cameras: tuple[Camera, ...]
    state: tuple[Field, ...]
    action: tuple[Field, ...]
    rate: float

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

    def to_dict(self) -> dict[str, Any]:
        """Plain lists, numbers and strings, for JSON or msgpack."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Contract:
        """The inverse of :meth:`to_dict`; unknown keys are refused by name."""

        def build(kind: type, item: Mapping[str, Any], where: str) -> Any:
            unknown = set(item) - {f.name for f in fields(kind)}
            if unknown:
                raise ContractMismatch(f"contract {where} has unknown keys {sorted(unknown)}; a newer version wrote it?")
            return kind(**{k: tuple(v) if isinstance(v, list) else v for k, v in item.items()})

        try:
            return cls(
                cameras=tuple(build(Camera, c, "camera") for c in data["cameras"]),
                state=tuple(build(Field, f, "state field") for f in data["state"]),
                action=tuple(build(Field, f, "action field") for f in data["action"]),
                rate=float(data["rate"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise ContractMismatch(f"this is not a contract: {type(error).__name__}: {error}") from error

    def to_json(self) -> str:
        """Indented JSON."""
        return json.dumps(self.to_dict(), indent=2)

    @classmethod
    def from_json(cls, text: str) -> Contract:
        """The inverse of :meth:`to_json`."""
        return cls.from_dict(json.loads(text))


def differences(needed: Contract, offered: Contract) -> list[Mismatch]:
    """What keeps ``offered`` (a robot, a dataset) from serving one who needs ``needed`` (a policy).

    Extra cameras are fine. Fields are compared in order, since a vector has no names on the wire. Values that either side
    leaves unstated are not compared; what protects a robot is compared by :func:`restrictions`.
    """
    found: list[Mismatch] = []
    offered_cameras = {c.name: c for c in offered.cameras}
    for camera in needed.cameras:
        other = offered_cameras.get(camera.name)
        if other is None:
            found.append(Mismatch(f"camera {camera.name!r}", "present", sorted(offered_cameras)))
        else:
            found += _attributes(f"camera {camera.name!r}", camera, other)
    for name in ("state", "action"):
        mine, theirs = getattr(needed, name), getattr(offered, name)
        if len(mine) != len(theirs):
            found.append(Mismatch(f"{name} fields", [f.name for f in mine], [f.name for f in theirs]))
            continue
        for field, other in zip(mine, theirs, strict=True):
            found += _attributes(f"{name} field {field.name!r}", field, other)
    if abs(needed.rate - offered.rate) > 0.01 * needed.rate:
        found.append(Mismatch("control rate (Hz)", needed.rate, offered.rate))
    return found


def restrictions(needed: Contract, offered: Contract) -> list[Mismatch]:
    """Where ``offered`` (a robot) is allowed less than ``needed`` (a policy's contract) says it was shown.

    No reason to refuse: commands are cut to what is allowed. But a policy that learned from a faster robot acts worse.
    """
    found = []
    for mine, theirs in zip(needed.action, offered.action, strict=False):
        for name in PROTECTION:
            a, b = getattr(mine, name), getattr(theirs, name)
            tighter = (float.__gt__ if name == "workspace_low" else float.__lt__) if a and b else None
            if tighter and any(tighter(float(y), float(x)) for x, y in zip(a, b, strict=False)):
                found.append(Mismatch(f"action field {mine.name!r} {name}", a, b))
    return found


def require_fit(needed: Contract, offered: Contract, needer: str, offerer: str) -> None:
    """Raise :class:`ContractMismatch` naming every difference and what converts it, or return in silence."""
    found = differences(needed, offered)
    if found:
        from forehand.advice import advice  # which stands on contracts

        listing = "\n".join(f"  - {m}" for m in found)
        raise ContractMismatch(
            f"{offerer} does not fit {needer}:\n{listing}\nNothing was moved. {advice(needed, offered)}"
        )


def _attributes(where: str, needed: Any, offered: Any) -> list[Mismatch]:
    found = []
    for field in fields(needed):
        a, b = getattr(needed, field.name), getattr(offered, field.name)
        if field.name not in PROTECTION and a is not None and b is not None and a != b:
            found.append(Mismatch(f"{where} {field.name}", a, b))
    return found
