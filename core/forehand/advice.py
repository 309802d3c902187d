"""Which conversions bring two contracts together that differ."""

from __future__ import annotations

from forehand.contract import Contract, Field, differences
from forehand.conversion import SENSES, UNITS, parse
from forehand.errors import ConfigurationError
from forehand.rotations import FORMS


def offers(needed: Contract, offered: Contract) -> list[str]:
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
        if (same.height, same.width) != (camera.height, camera.width):
            found.append(f"camera.{camera.name}:{camera.height}x{camera.width}")
    for side in ("state", "action"):
        wanted, there = getattr(needed, side), getattr(offered, side)
        if len(wanted) == len(there):
            for want, have in zip(wanted, there, strict=True):
                found += [f"{side}.{have.name}:{change}" for change in _changes(want, have)]
    return found


def advice(needed: Contract, offered: Contract) -> str:
    """What to do about the differences: conversions where there are any, and what they leave."""
    names = offers(needed, offered)
    try:
        left = differences(needed, parse(names, offered)[1])
    except (ConfigurationError, ValueError):
        names, left = [], []
    if not names:
        return "Use a robot, dataset or checkpoint with the same contract, or convert one of them."
    option = f"robot.convert=[{','.join(names)}]"
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
