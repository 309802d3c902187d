"""Binary grippers, and creation of an action chunker by name."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from forehand.contracts.contract import Contract, Field
from forehand.control.chunking.chunks import Action, ActionChunker, Chunk
from forehand.control.chunking.rotations import RotationAverages, absolute_rotations
from forehand.errors import ConfigurationError
from forehand.plugins import registry as the_registry
from forehand.registry import Registry


class BinaryGripper(ActionChunker):
    """Another chunker whose gripper commands are rounded to the nearer end of their range.

    Applied last, so that an ensemble averages the policy's confidence and not its decisions.
    """

    def __init__(self, chunker: ActionChunker, contract: Contract) -> None:
        self.chunker = chunker
        self.asynchronous = chunker.asynchronous
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
        """That of the chunker inside."""
        return self.chunker.needs_prediction

    def add(self, chunk: Chunk, age: int = 0) -> None:
        """Hand the chunk on."""
        self.chunker.add(chunk, age)

    def next_action(self) -> Action | None:
        """The action of the chunker inside, with the gripper fully open or closed."""
        if (inside := self.chunker.next_action()) is None:
            return None
        action = np.array(inside, dtype=np.float32)
        for where, low, high in self._ends:
            action[where] = np.where(action[where] > (low + high) / 2, high, low)
        return action

    def reset(self) -> None:
        """Reset the chunker inside."""
        self.chunker.reset()


def make_chunker(
    contract: Contract, name: str, *, binary_gripper: bool = False, registry: Registry | None = None, **options: Any
) -> ActionChunker:
    """The registered chunker ``name`` with these options, for actions of a ``contract``.

    Absolute rotations are averaged as such (:class:`~forehand.control.chunking.rotations.RotationAverages`); with
    ``binary_gripper`` it is behind a :class:`BinaryGripper`.
    """
    chunker: ActionChunker = (registry or the_registry()).create("chunking", name, **options)
    if absolute_rotations(contract):
        chunker = RotationAverages(chunker, contract)
    return BinaryGripper(chunker, contract) if binary_gripper else chunker


def _range(field: Field) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    if field.low is None or field.high is None:
        raise ConfigurationError(
            f"binary_gripper rounds action field {field.name!r} to the ends of its range, but the contract states "
            f"none; give the field `low` and `high`."
        )
    return np.asarray(field.low, dtype=np.float32), np.asarray(field.high, dtype=np.float32)
