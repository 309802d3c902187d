"""Asynchronous action chunking for policies slower than the robot: chunks aligned in time, and blended."""

from __future__ import annotations

import numpy as np

from forehand.control.chunking.chunks import Action, ActionChunker, Chunk
from forehand.utils.numbers import count


class Asynchronous(ActionChunker):
    """Carry out one chunk while the next is being predicted from a newer observation.

    A chunk that arrives begins at the time of *its* observation: the actions that lie in the past are left out. Over its
    next ``blend`` actions it is faded in: the i-th of them, counted from 1, is (1 − w) · old + w · new with
    w = i / (blend + 1). Where the chunk in hand is used up before another comes, the robot holds.

    The policy must look further ahead than it takes to answer: a chunk of H actions at a rate of r Hz bridges H / r s.
    """

    asynchronous = True

    def __init__(self, blend: int = 4) -> None:
        count(0, **{"chunking.blend": blend})
        self.blend = blend
        self._chunk: Chunk | None = None  # from this step on

    @property
    def needs_prediction(self) -> bool:
        """Always: the next request follows each prediction at once."""
        return True

    def add(self, chunk: Chunk, age: int = 0) -> None:
        """Go over to this chunk; one that lies in the past as a whole changes nothing."""
        new = np.array(chunk[age:], dtype=np.float32)
        if not len(new):
            return
        if self._chunk is not None:
            shared = min(self.blend, len(self._chunk), len(new))
            weight = (np.arange(1, shared + 1, dtype=np.float32) / (self.blend + 1))[:, None]
            new[:shared] = (1 - weight) * self._chunk[:shared] + weight * new[:shared]
        self._chunk = new

    def next_action(self) -> Action | None:
        """The next action of the chunk in hand."""
        if self._chunk is None:
            return None
        action, rest = self._chunk[0], self._chunk[1:]
        self._chunk = rest if len(rest) else None
        return action

    def reset(self) -> None:
        """Discard the chunk."""
        self._chunk = None
