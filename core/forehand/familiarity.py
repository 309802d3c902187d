"""Are a robot's numbers like those that a policy was trained on? Two contracts may agree where the numbers do not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from forehand.contract import Contract, Field, Mismatch
from forehand.robot import Observation

TRAINED_ON = "trained_on"
"""The fact about a policy (:meth:`forehand.Policy.describe`) that :func:`trained_on` makes: the range of its states."""

TRAINED_TO_DO = "trained_to_do"
"""The same of its actions."""


def trained_on(statistics: Mapping[str, Any]) -> dict[str, Any]:
    """The ranges of states and actions in the data of these statistics, as facts about the policy; {} if not known."""
    found = {}
    for fact, key in ((TRAINED_ON, "observation.state"), (TRAINED_TO_DO, "action")):
        known = statistics.get(key, {})
        if "min" in known and "max" in known:
            found[fact] = {name: [float(x) for x in known[name]] for name in ("min", "max")}
    return found


def unfamiliar(facts: Mapping[str, Any], observation: Observation, contract: Contract) -> list[Mismatch]:
    """Elements of the state that lie further outside the trained range than it is wide: another unit, another zero.

    ``facts``: what a policy says of itself. Nothing is said of a policy that does not know, or of elements that were
    constant in training.
    """
    ranges = facts.get(TRAINED_ON)
    if not isinstance(ranges, Mapping) or len(ranges.get("min", ())) != contract.state_size:
        return []
    names = _elements(contract.state)
    return [
        Mismatch(f"state element {name!r}", f"{low:g} to {high:g}", float(value))
        for name, low, high, value in zip(names, ranges["min"], ranges["max"], observation.state, strict=True)
        if low < high and not 2 * low - high <= value <= 2 * high - low
    ]


def out_of_range(facts: Mapping[str, Any], contract: Contract) -> list[Mismatch]:
    """Elements of the action whose trained range reaches further beyond the robot's than that is wide: another unit.

    Nothing is said of a policy that does not know, or of fields for which the robot states no range.
    """
    ranges = facts.get(TRAINED_TO_DO)
    if not isinstance(ranges, Mapping) or len(ranges.get("min", ())) != contract.action_size:
        return []
    nothing = (None,)
    allowed_low = [low for f in contract.action for low in (f.low or nothing * f.size)]
    allowed_high = [high for f in contract.action for high in (f.high or nothing * f.size)]
    elements = zip(_elements(contract.action), ranges["min"], ranges["max"], allowed_low, allowed_high, strict=True)
    return [
        Mismatch(f"action element {name!r}", f"{least:g} to {most:g}", f"{low:g} to {high:g}")
        for name, least, most, low, high in elements
        if low is not None and high is not None and not (2 * low - high <= least and most <= 2 * high - low)
    ]


def _elements(fields: Sequence[Field]) -> list[str]:
    return [f"{f.name}.{i}" if f.size > 1 else f.name for f in fields for i in range(f.size)]
