"""Is a robot's state like those that a policy was trained on? Two contracts may agree where the numbers do not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from forehand.contract import Contract, Mismatch
from forehand.robot import Observation

TRAINED_ON = "trained_on"
"""The fact about a policy (:meth:`forehand.Policy.describe`) that :func:`trained_on` makes."""


def trained_on(statistics: Mapping[str, Any]) -> dict[str, Any]:
    """The range of the states in the data of these statistics, as a fact about the policy; {} where none is known."""
    state = statistics.get("observation.state", {})
    if "min" not in state or "max" not in state:
        return {}
    return {TRAINED_ON: {name: [float(x) for x in state[name]] for name in ("min", "max")}}


def unfamiliar(facts: Mapping[str, Any], observation: Observation, contract: Contract) -> list[Mismatch]:
    """Elements of the state that lie further outside the trained range than it is wide: another unit, another zero.

    ``facts``: what a policy says of itself. Nothing is said of a policy that does not know, or of elements that were
    constant in training.
    """
    ranges = facts.get(TRAINED_ON)
    if not isinstance(ranges, Mapping) or len(ranges.get("min", ())) != contract.state_size:
        return []
    names = [f"{f.name}.{i}" if f.size > 1 else f.name for f in contract.state for i in range(f.size)]
    return [
        Mismatch(f"state element {name!r}", f"{low:g} to {high:g}", float(value))
        for name, low, high, value in zip(names, ranges["min"], ranges["max"], observation.state, strict=True)
        if low < high and not 2 * low - high <= value <= 2 * high - low
    ]
