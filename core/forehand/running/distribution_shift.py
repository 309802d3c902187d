"""Out-of-distribution checks of a robot's state and action ranges against a policy's training data."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from forehand.contracts.compatibility import Mismatch
from forehand.contracts.contract import Contract, Field
from forehand.policy import TRAINING_ACTION_RANGE, TRAINING_STATE_RANGE
from forehand.robot import Observation

log = logging.getLogger(__name__)


def state_out_of_distribution(facts: Mapping[str, Any], observation: Observation, contract: Contract) -> list[Mismatch]:
    """Elements of the state that lie further outside the trained range than it is wide: another unit, another zero.

    ``facts``: those of :meth:`~forehand.policy.Policy.describe`. Elements that were constant in training are not checked,
    nor is a policy without such facts.
    """
    ranges = facts.get(TRAINING_STATE_RANGE)
    if not isinstance(ranges, Mapping) or len(ranges.get("min", ())) != contract.state_size:
        return []
    names = _elements(contract.state)
    return [
        Mismatch(f"state element {name!r}", f"{low:g} to {high:g}", float(value))
        for name, low, high, value in zip(names, ranges["min"], ranges["max"], observation.state, strict=True)
        if low < high and not 2 * low - high <= value <= 2 * high - low
    ]


def action_range_mismatch(facts: Mapping[str, Any], contract: Contract) -> list[Mismatch]:
    """Elements of the action whose trained range reaches further beyond the robot's than that is wide: another unit.

    Fields for which the robot states no range are not checked, nor is a policy without facts about its training.
    """
    ranges = facts.get(TRAINING_ACTION_RANGE)
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


class DistributionShift:
    """Warnings of states and action ranges unlike those of training, each once; for evaluation and real-time control.

    ``facts``: those of :meth:`~forehand.policy.Policy.describe`.
    """

    def __init__(self, facts: Mapping[str, Any], contract: Contract) -> None:
        self._facts, self._contract = facts, contract
        self._warned: set[str] = set()

    def check_action_range(self) -> None:
        """Log every :func:`action_range_mismatch`."""
        for beyond in action_range_mismatch(self._facts, self._contract):
            log.warning("the policy was trained to do what this robot does not allow: %s", beyond)

    def check_state(self, observation: Observation) -> None:
        """Log every element that is :func:`state_out_of_distribution` for the first time."""
        for unlike in state_out_of_distribution(self._facts, observation, self._contract):
            if unlike.where not in self._warned:
                self._warned.add(unlike.where)
                log.warning("the robot is where the policy never was in training: %s", unlike)


def _elements(fields: Sequence[Field]) -> list[str]:
    return [f"{f.name}.{i}" if f.size > 1 else f.name for f in fields for i in range(f.size)]
