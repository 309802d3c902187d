"""Grippers that are either open or closed, and the making of an execution by name."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from forehand.contract import Contract, Field
from forehand.errors import ConfigurationError
from forehand.execution.chunks import Action, Chunk, Execution
from forehand.registry import Registry
from forehand.registry import registry as the_registry


class BinaryGripper(Execution):
    """Another execution whose gripper commands are rounded to the nearer end of their range.

    Applied last, so that an ensemble averages the policy's confidence and not its decisions.
    """

    def __init__(self, execution: Execution, contract: Contract) -> None:
        self.execution = execution
        self.beside = execution.beside
        self._ends: list[tuple[slice, NDArray[np.float32], NDArray[np.float32]]] = []
        start = 0
        for field in contract.action:
            if field.gripper is not None:
                low, high = _range(field)
                self._ends.append((slice(start, start + field.size), low, high))
            start += field.size
        if not self._ends:
            raise ConfigurationError(
                f"binary_gripper needs a gripper in the action, but the fields are {[f.name for f in contract.action]}; "
                f"leave it out, or state the field's `gripper` sense in the contract."
            )

    @property
    def needs_prediction(self) -> bool:
        """As the execution inside."""
        return self.execution.needs_prediction

    def add(self, chunk: Chunk, age: int = 0) -> None:
        """Hand the chunk on."""
        self.execution.add(chunk, age)

    def next_action(self) -> Action | None:
        """The action of the execution inside, with the gripper fully open or closed."""
        if (inside := self.execution.next_action()) is None:
            return None
        action = np.array(inside, dtype=np.float32)
        for where, low, high in self._ends:
            action[where] = np.where(action[where] > (low + high) / 2, high, low)
        return action

    def reset(self) -> None:
        """Reset the execution inside."""
        self.execution.reset()


def make_execution(
    contract: Contract, name: str, *, binary_gripper: bool = False, registry: Registry | None = None, **options: Any
) -> Execution:
    """The registered execution ``name`` with these options, behind a :class:`BinaryGripper` if asked for."""
    execution: Execution = (registry or the_registry()).create("execution", name, **options)
    return BinaryGripper(execution, contract) if binary_gripper else execution


def _range(field: Field) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    if field.low is None or field.high is None:
        raise ConfigurationError(
            f"binary_gripper rounds action field {field.name!r} to the ends of its range, but the contract states "
            f"none; give the field `low` and `high`."
        )
    return np.asarray(field.low, dtype=np.float32), np.asarray(field.high, dtype=np.float32)
