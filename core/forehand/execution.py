"""How a predicted chunk becomes one action for every control step."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections import deque
from typing import Any

import numpy as np
from numpy.typing import NDArray

from forehand.contract import Contract, Field
from forehand.errors import ConfigurationError
from forehand.registry import Registry
from forehand.registry import registry as the_registry

Chunk = NDArray[np.float32]
Action = NDArray[np.float32]


class Execution(ABC):
    """Turns chunks of actions (H, A), the first one for now, into one action (A,) a control step.

    At each step: :meth:`add` a fresh chunk if :attr:`needs_prediction`, then take :meth:`next_action`, which moves the
    clock on by one step.
    """

    @property
    @abstractmethod
    def needs_prediction(self) -> bool:
        """Whether this step wants a fresh chunk."""

    @abstractmethod
    def add(self, chunk: Chunk) -> None:
        """Take a chunk (H, A) predicted from the newest observation; its first action is for this step."""

    @abstractmethod
    def next_action(self) -> Action:
        """The action (A,) of this step. Raises RuntimeError if no chunk that was added reaches this far."""

    @abstractmethod
    def reset(self) -> None:
        """Forget every chunk, as at the start of an episode."""


class RecedingHorizon(Execution):
    """Carry out the first ``steps`` actions of a chunk, then look again."""

    def __init__(self, steps: int = 1) -> None:
        if steps < 1:
            raise ConfigurationError(f"receding_horizon executes at least one action of a chunk, not steps={steps}")
        self.steps = steps
        self._queue: deque[Action] = deque()

    @property
    def needs_prediction(self) -> bool:
        """True once the actions taken from the last chunk are used up."""
        return not self._queue

    def add(self, chunk: Chunk) -> None:
        """Replace what is left of the last chunk by the first ``steps`` actions of this one."""
        if len(chunk) < self.steps:
            raise ConfigurationError(
                f"The policy predicts {len(chunk)} actions at a time, but execution.steps is {self.steps}; "
                f"use execution.steps={len(chunk)} or fewer."
            )
        self._queue = deque(chunk[: self.steps])

    def next_action(self) -> Action:
        """The next action of the chunk."""
        if not self._queue:
            raise RuntimeError("next_action() was called before a chunk was added")
        return self._queue.popleft()

    def reset(self) -> None:
        """Forget the chunk."""
        self._queue.clear()


class TemporalEnsemble(Execution):
    """Average what all recent chunks say about this step, weighted exp(−decay · i), i counted from the oldest.

    The oldest prediction weighs most, which smooths the motion. Source: Zhao et al., *Learning Fine-Grained Bimanual
    Manipulation with Low-Cost Hardware* (ACT), 2023.
    """

    def __init__(self, decay: float = 0.01) -> None:
        if not math.isfinite(decay):
            raise ConfigurationError(f"temporal_ensemble.decay must be a finite number, not {decay}")
        self.decay = decay
        self._pending: deque[Chunk] = deque()  # what each chunk says from this step on, oldest first

    @property
    def needs_prediction(self) -> bool:
        """Always: every step's observation adds a chunk."""
        return True

    def add(self, chunk: Chunk) -> None:
        """Add the newest chunk."""
        self._pending.append(chunk)

    def next_action(self) -> Action:
        """The weighted mean of the predictions for this step."""
        if not self._pending:
            raise RuntimeError("next_action() was called, but no added chunk reaches this step")
        predictions = np.stack([chunk[0] for chunk in self._pending])
        weights = np.exp(-self.decay * np.arange(len(predictions)))
        self._pending = deque(chunk[1:] for chunk in self._pending if len(chunk) > 1)
        return np.asarray(weights @ predictions / weights.sum(), dtype=np.float32)

    def reset(self) -> None:
        """Forget every chunk."""
        self._pending.clear()


class BinaryGripper(Execution):
    """Another execution whose gripper commands are rounded to the nearer end of their range.

    Applied last, so that an ensemble averages the policy's confidence and not its decisions.
    """

    def __init__(self, execution: Execution, contract: Contract) -> None:
        self.execution = execution
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

    def add(self, chunk: Chunk) -> None:
        """Hand the chunk on."""
        self.execution.add(chunk)

    def next_action(self) -> Action:
        """The action of the execution inside, with the gripper fully open or closed."""
        action = np.array(self.execution.next_action(), dtype=np.float32)
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
