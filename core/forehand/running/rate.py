"""Fixed-rate timer for control loops."""

from __future__ import annotations

import time
from collections.abc import Callable


class Rate:
    """Keeps a loop at ``rate`` Hz, by the monotonic clock.

    Steps that are on time are due at start + k / rate, so that errors of sleeping do not add up. A step that overruns
    moves the beat by what it was late: commands never follow each other faster than the robot expects them, and nothing
    is caught up in a burst.

    clock: monotonic seconds; sleep: waits for so many seconds, or until it is woken.
    """

    def __init__(
        self,
        rate: float,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        self.period = 1 / rate
        self.overruns = 0
        self._clock, self._sleep = clock, sleep
        self.start()

    def start(self) -> None:
        """The first step begins now."""
        self._due = self._clock()

    def wait(self) -> float:
        """Wait until the next step is due. Returns by how many seconds this one overran, 0 for one on time."""
        self._due += self.period
        spare = self._due - self._clock()
        if spare >= 0:
            self._sleep(spare)
            return 0.0
        self.overruns += 1
        self._due -= spare
        return -spare
