"""Contract compatibility: what differs between two contracts, and which conversions bring them together."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

from forehand.contracts.contract import PROTECTION, Contract, Field
from forehand.contracts.conversion import SENSES, UNITS, parse
from forehand.contracts.rotations import FORMS
from forehand.contracts.sensor import shapes_fit
from forehand.errors import ConfigurationError, ContractMismatch


@dataclass(frozen=True)
class Mismatch:
    """One difference: where it is, what is needed and what is offered."""

    where: str
    needed: Any
    offered: Any

    def __str__(self) -> str:
        return f"{self.where}: needed {self.needed!r}, offered {self.offered!r}"


def differences(needed: Contract, offered: Contract) -> list[Mismatch]:
    """The reasons why ``offered`` (a robot, a dataset) cannot be used with ``needed`` (a policy).

    Extra cameras and sensors are fine, and so is a point cloud of fewer points. Fields are compared in order, since a
    vector has no names on the wire. Values that either side leaves unstated are not compared; a robot's limits are
    compared by :func:`restrictions`.
    """
    found: list[Mismatch] = []
    offered_cameras = {c.name: c for c in offered.cameras}
    for camera in needed.cameras:
        other = offered_cameras.get(camera.name)
        if other is None:
            found.append(Mismatch(f"camera {camera.name!r}", "present", sorted(offered_cameras)))
        else:
            found += _attributes(f"camera {camera.name!r}", camera, other)
    offered_sensors = {s.name: s for s in offered.sensors}
    for sensor in needed.sensors:
        where, there = f"sensor {sensor.name!r}", offered_sensors.get(sensor.name)
        if there is None:
            found.append(Mismatch(where, "present", sorted(offered_sensors)))
            continue
        found += [m for m in _attributes(where, sensor, there) if m.where not in (f"{where} shape", f"{where} most")]
        if not shapes_fit(sensor, there):
            found.append(Mismatch(f"{where} shape", sensor.describe_shape(), there.describe_shape()))
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


def stated_by_both(one: Contract, other: Contract) -> tuple[Contract, list[str]] | None:
    """What two contracts both state, and what is left out of it since only one states it; None where they contradict.

    Cameras, fields and sensors have to be the same, in the same order.
    """
    if one.rate != other.rate:
        return None
    found: dict[str, Any] = {}
    left_out: list[str] = []
    for side in ("cameras", "state", "action", "sensors"):
        mine, theirs = getattr(one, side), getattr(other, side)
        if len(mine) != len(theirs):
            return None
        parts = []
        for part, its in zip(mine, theirs, strict=True):
            differing = [f.name for f in fields(part) if getattr(part, f.name) != getattr(its, f.name)]
            if any(getattr(part, name) is not None and getattr(its, name) is not None for name in differing):
                return None
            parts.append(replace(part, **dict.fromkeys(differing)))
            left_out += [f"{side}.{part.name}: {name}" for name in differing]
        found[side] = tuple(parts)
    return replace(one, **found), left_out


def restrictions(needed: Contract, offered: Contract) -> list[Mismatch]:
    """The limits of ``offered`` (a robot) that are narrower than those of ``needed`` (a policy's training data).

    No reason to refuse: commands are clipped to the limits. But a policy that learned from a faster robot acts worse.
    """
    found = []
    for mine, theirs in zip(needed.action, offered.action, strict=False):
        for name in PROTECTION:
            a, b = getattr(mine, name), getattr(theirs, name)
            tighter = (float.__gt__ if name == "workspace_low" else float.__lt__) if a and b else None
            if tighter and any(tighter(float(y), float(x)) for x, y in zip(a, b, strict=False)):
                found.append(Mismatch(f"action field {mine.name!r} {name}", a, b))
    return found


def require_fit(needed: Contract, offered: Contract, needer: str, offerer: str, remedy: str | None = None) -> None:
    """Raise :class:`ContractMismatch` naming every difference and what to do, or return in silence.

    remedy: what to do where no robot is concerned; by default what converts a robot, and that nothing was moved.
    """
    found = differences(needed, offered)
    if found:
        listing = "\n".join(f"  - {m}" for m in found)
        remedy = remedy or f"Nothing was moved. {suggest_conversions(needed, offered)}"
        raise ContractMismatch(f"{offerer} does not fit {needer}:\n{listing}\n{remedy}")


def _attributes(where: str, needed: Any, offered: Any) -> list[Mismatch]:
    found = []
    for field in fields(needed):
        a, b = getattr(needed, field.name), getattr(offered, field.name)
        if field.name not in PROTECTION and a is not None and b is not None and a != b:
            found.append(Mismatch(f"{where} {field.name}", a, b))
    return found


def possible_conversions(needed: Contract, offered: Contract) -> list[str]:
    """Names of conversions that bring ``offered`` nearer to ``needed``, in the order in which to apply them."""
    found: list[str] = []
    known = {c.name: c for c in offered.cameras}
    spare = [c for c in offered.cameras if c.name not in {n.name for n in needed.cameras}]
    for camera in needed.cameras:
        same = known.get(camera.name) or next((c for c in spare if c.role is not None and c.role == camera.role), None)
        if same is None:
            continue
        if same.name != camera.name:
            found.append(f"camera.{same.name}:{camera.name}")
        if same.orientation is not None and camera.orientation not in (None, same.orientation):
            found.append(f"camera.{camera.name}:{camera.orientation}")
        if (same.height, same.width) != (camera.height, camera.width):
            found.append(f"camera.{camera.name}:{camera.height}x{camera.width}")
    found += _sensor_renames(needed, offered)
    for side in ("state", "action"):
        wanted, there = getattr(needed, side), getattr(offered, side)
        if len(wanted) == len(there):
            for want, have in zip(wanted, there, strict=True):
                found += [f"{side}.{have.name}:{change}" for change in _changes(want, have)]
    return found


def _sensor_renames(needed: Contract, offered: Contract) -> list[str]:
    """Conversions that give each sensor the name of the one that is needed: of the same kind and role, if that is one."""
    found = []
    names = {s.name for s in offered.sensors}
    spare = [s for s in offered.sensors if s.name not in {n.name for n in needed.sensors}]
    for sensor in needed.sensors:
        alike = [s for s in spare if (s.kind, s.role) == (sensor.kind, sensor.role)]
        if sensor.name not in names and len(alike) == 1:
            found.append(f"sensor.{alike[0].name}:{sensor.name}")
            spare.remove(alike[0])
    return found


def suggest_conversions(needed: Contract, offered: Contract) -> str:
    """What to do about the differences: conversions where there are any, and what they leave."""
    names = possible_conversions(needed, offered)
    try:
        left = differences(needed, parse(names, offered)[1])
    except (ConfigurationError, ValueError):
        names, left = [], []
    if not names:
        return "Use a robot, dataset or checkpoint with the same contract, or convert one of them."
    option = f"'robot.convert=[{','.join(names)}]'"  # quoted, since some shells expand brackets
    if not left:
        return f"For a robot, exactly these conversions make it fit: {option}"
    return f"For a robot, {option} converts some of it, but leaves {'; '.join(map(str, left))}."


def _changes(want: Field, have: Field) -> list[str]:
    """What to convert ``have`` to, in order."""
    found = []
    turns = want.rotation != have.rotation and want.rotation in FORMS and have.rotation in FORMS
    if turns and have.unit == "deg":
        found.append("rad")
    if turns:
        found.append(str(want.rotation))
    unit = "rad" if turns and have.unit == "deg" else have.unit
    if want.unit != unit and want.unit in UNITS and unit in UNITS and UNITS[want.unit][0] == UNITS[unit][0]:
        found.append(want.unit)
    ranged = have.low is not None and have.high is not None
    if want.gripper != have.gripper and want.gripper in SENSES and have.gripper in SENSES and ranged:
        found.append(str(want.gripper))
    grips = want.gripper in SENSES and ranged and want.low is not None and want.high is not None
    if grips and (want.low, want.high) != (have.low, have.high) and len({*want.low}) == len({*want.high}) == 1:  # type: ignore[misc]
        found.append(f"{want.low[0]:g}..{want.high[0]:g}")  # type: ignore[index]
    if want.name != have.name:
        found.append(f"name:{want.name}")
    return found
