"""Inference session of a LeRobot policy: the last frames of one robot."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from forehand.policy import Session

Frame = dict[str, NDArray[np.generic]]


class LeRobotSession(Session):
    """The last ``history`` frames, and how many chunks were sampled so far."""

    def __init__(self, instruction: str, seed: int, history: int) -> None:
        super().__init__(instruction, seed)
        self.frames: deque[Frame] = deque(maxlen=history)
        self.drawn = 0

    def reset(self, instruction: str | None = None) -> None:
        """Drop the frames; random numbers begin anew."""
        super().reset(instruction)
        self.frames.clear()
        self.drawn = 0

    def window(self, offsets: Sequence[int]) -> list[Frame]:
        """The frames at ``offsets`` ≤ 0 from the newest; before the first of an episode, that one."""
        newest = len(self.frames) - 1
        return [self.frames[max(0, newest + offset)] for offset in offsets]

    def next_seed(self) -> int:
        """The seed of the next chunk: a function of the session's seed and of how many chunks came before."""
        state = np.random.SeedSequence([self.seed, self.drawn]).generate_state(1, np.uint64)
        self.drawn += 1
        return int(state[0] >> np.uint64(1))
