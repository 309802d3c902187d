"""Actions of robosuite's operational space controller, by the ``env_args`` that recordings carry."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from forehand import Field
from forehand.data.importing.statements import Statements
from forehand.errors import DatasetError

MODES = ("delta", "absolute")
ARM = 7  # position, rotation, gripper


def controller(env_args: Mapping[str, Any]) -> Mapping[str, Any]:
    """The settings of the arm's controller, of robosuite up to 1.4 and from 1.5 on; {} where they are not stated."""
    kwargs = env_args.get("env_kwargs") or {}
    found = kwargs.get("controller_configs") or {}
    if isinstance(found, list):
        found = found[0] if found else {}
    if "body_parts" in found:
        parts = found["body_parts"]
        found = parts.get("right") or next(iter(parts.values()), {})
    return found if isinstance(found, Mapping) else {}


def action_mode(settings: Mapping[str, Any]) -> str | None:
    """``delta`` or ``absolute``, as the controller's settings state it; None where they do not."""
    if "input_type" in settings:
        return str(settings["input_type"])
    if "control_delta" in settings:
        return "delta" if settings["control_delta"] else "absolute"
    return None


def steps_of(settings: Mapping[str, Any]) -> tuple[float, float] | None:
    """The motion in m and in rad that 1.0 commands; None where it is not stated. One for each direction is refused."""
    largest = settings.get("output_max")
    if largest is None:
        return None
    numbers = [float(n) for n in (largest if isinstance(largest, Sequence) else [largest] * 6)]
    if len(numbers) != 6 or len({*numbers[:3]}) > 1 or len({*numbers[3:]}) > 1:
        raise DatasetError(
            f"The controller's output_max is {largest}, not one step for 3 positions and one for 3 angles."
        )
    return numbers[0], numbers[3]


def frame_of(settings: Mapping[str, Any]) -> str:
    """The frame of motions: robosuite's controllers took the world's up to 1.4, and state theirs from 1.5 on."""
    return str(settings.get("input_ref_frame", "world"))


def arm_fields(mode: str, steps: tuple[float, float], frame: str, prefix: str = "") -> tuple[Field, ...]:
    """Position, rotation and gripper of one arm (7). mode: ``delta`` (scaled to [-1, 1]) or ``absolute``."""
    gripper = Field(f"{prefix}gripper", 1, unit="1", gripper="closed", low=(-1.0,), high=(1.0,))
    if mode == "absolute":
        return (
            Field(f"{prefix}position", 3, unit="m", frame=frame, mode=mode),
            Field(f"{prefix}rotation", 3, unit="rad", frame=frame, rotation="axis_angle", mode=mode),
            gripper,
        )
    low, high = (-1.0,) * 3, (1.0,) * 3
    position, rotation = (f"{step:g} {unit}" for step, unit in zip(steps, ("m", "rad"), strict=True))
    return (
        Field(f"{prefix}position", 3, unit=position, frame=frame, mode=mode, low=low, high=high),
        Field(f"{prefix}rotation", 3, unit=rotation, frame=frame, rotation="axis_angle", mode=mode, low=low, high=high),
        gripper,
    )


def know_motions(statements: Statements, steps: tuple[float, float], frame: str, origin: str) -> None:
    """Note the scale and the reference of relative motions, for the record."""
    statements.know("action scale", f"1.0 is {steps[0]:g} m and {steps[1]:g} rad", origin)
    statements.know("action reference", f"measured pose, axes of the {frame}", "robosuite's OSC_POSE")


def know_gripper(statements: Statements, origin: str | None = None) -> None:
    """Note the sense of gripper commands, for the record. origin: what says it; None: it is assumed."""
    sense = "-1 open, +1 closed, without a unit"
    if origin is None:
        statements.assume("action gripper", sense, "env_args does not say it, and robosuite's grippers are so")
    else:
        statements.know("action gripper", sense, origin)
