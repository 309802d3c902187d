"""Synchronous action chunking: receding horizon and temporal ensemble."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque

import numpy as np
from numpy.typing import NDArray

from forehand.errors import ConfigurationError
from forehand.utils.numbers import count, finite

Chunk = NDArray[np.float32]
Action = NDArray[np.float32]


class ActionChunker(ABC):
    """Turns chunks of actions (H, A) into one action (A,) a control step.

    At each step: :meth:`add` the chunks that have come, then take :meth:`next_action`, which moves the clock on by one.
    """

    asynchronous: bool = False
    """Whether the policy runs in parallel with the control loop, which then never waits for an answer."""

    @property
    @abstractmethod
    def needs_prediction(self) -> bool:
        """Whether this step needs a new chunk."""

    @abstractmethod
    def add(self, chunk: Chunk, age: int = 0) -> None:
        """Take a chunk (H, A) predicted from the observation of ``age`` control steps ago: so many actions are past."""

    @abstractmethod
    def next_action(self) -> Action | None:
        """The action (A,) of this step, or None where no chunk that was added reaches this far: then the robot holds."""

    @abstractmethod
    def reset(self) -> None:
        """Discard every chunk, as at the start of an episode."""


class RecedingHorizon(ActionChunker):
    """Carry out the first ``steps`` actions of a chunk, then look again."""

    def __init__(self, steps: int = 1) -> None:
        count(**{"chunking.steps": steps})
        self.steps = steps
        self._queue: deque[Action] = deque()

    @property
    def needs_prediction(self) -> bool:
        """True once the actions taken from the last chunk are used up."""
        return not self._queue

    def add(self, chunk: Chunk, age: int = 0) -> None:
        """Replace what is left of the last chunk by the first ``steps`` actions of this one."""
        if len(chunk) < self.steps:
            raise ConfigurationError(
                f"The policy predicts {len(chunk)} actions at a time, but chunking.steps is {self.steps}; "
                f"use chunking.steps={len(chunk)} or fewer."
            )
        self._queue = deque(chunk[age : self.steps])

    def next_action(self) -> Action | None:
        """The next action of the chunk."""
        return self._queue.popleft() if self._queue else None

    def reset(self) -> None:
        """Discard the chunk."""
        self._queue.clear()


class TemporalEnsemble(ActionChunker):
    """Average all recent chunks' actions for this step, weighted exp(−decay · i), i counted from the oldest.

    The oldest prediction weighs most, which smooths the motion. Source: Zhao et al., *Learning Fine-Grained Bimanual
    Manipulation with Low-Cost Hardware* (ACT), 2023.
    """

    def __init__(self, decay: float = 0.01) -> None:
        finite(**{"chunking.decay": decay})
        self.decay = decay
        self._pending: deque[Chunk] = deque()  # each chunk's actions from this step on, oldest first

    @property
    def needs_prediction(self) -> bool:
        """Always: every step's observation adds a chunk."""
        return True

    def add(self, chunk: Chunk, age: int = 0) -> None:
        """Add the newest chunk."""
        if len(chunk) > age:
            self._pending.append(chunk[age:])

    def next_action(self) -> Action | None:
        """The weighted mean of the predictions for this step."""
        if not self._pending:
            return None
        predictions = np.stack([chunk[0] for chunk in self._pending])
        weights = np.exp(-self.decay * np.arange(len(predictions)))
        self._pending = deque(chunk[1:] for chunk in self._pending if len(chunk) > 1)
        return np.asarray(weights @ predictions / weights.sum(), dtype=np.float32)

    def reset(self) -> None:
        """Discard every chunk."""
        self._pending.clear()
