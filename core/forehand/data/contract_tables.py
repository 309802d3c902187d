"""Contract as sections in Markdown, for cards on the hub: cameras, sensors, state and action."""

from __future__ import annotations

from forehand.contracts.contract import Contract, Field
from forehand.data.features import sensor_key
from forehand.utils.markdown import markdown_table


def contract_sections(contract: Contract) -> list[str]:
    """A section with a table for the cameras, the sensors if there are any, the state and the action."""
    return [_cameras(contract), *_sensors(contract), _vectors(contract)]


def _cameras(contract: Contract) -> str:
    rows = [[f"`{c.name}`", f"{c.height} × {c.width}", c.role or ""] for c in contract.cameras]
    return "## Cameras\n\n" + markdown_table(["camera", "pixels", "where"], rows)


def _sensors(contract: Contract) -> list[str]:
    """The table of what is sensed beside cameras and state, if anything is."""
    if not contract.sensors:
        return []
    names = ["sensor", "kind", "shape", "type", "unit", "frame", "where", "feature"]
    rows = [
        [
            f"`{s.name}`",
            s.kind,
            s.describe_shape(),
            s.dtype,
            s.unit or "",
            s.frame or "",
            s.role or "",
            f"`{sensor_key(s)}`",
        ]
        for s in contract.sensors
    ]
    return ["## Sensors\n\n" + markdown_table(names, rows)]


def _vectors(contract: Contract) -> str:
    names = ["elements", "field", "unit", "frame", "rotation", "mode", "range"]
    parts = []
    for title, fields in (("State", contract.state), ("Action", contract.action)):
        if not fields:
            parts.append(f"## {title}\n\nNone.")
            continue
        rows, first = [], 0
        for field in fields:
            elements = str(first) if field.size == 1 else f"{first}–{first + field.size - 1}"
            first += field.size
            about = [field.unit, field.frame, field.rotation, field.mode]
            rows.append([elements, f"`{field.name}`", *(word or "" for word in about), _range(field)])
        parts.append(f"## {title}\n\n" + markdown_table(names, rows))
    return "\n\n".join(parts)


def _range(field: Field) -> str:
    words = [] if field.gripper is None else [f"larger is {field.gripper}"]
    if field.low is not None and field.high is not None:
        words += [f"{low:g} to {high:g}" for low, high in dict.fromkeys(zip(field.low, field.high, strict=True))]
    return ", ".join(words)
