"""Clock utilities: bounds on another machine's clock offset, and detection of suspended time."""

from __future__ import annotations

import math
import time

DRIFT = 1e-3
"""How much faster or slower than another a clock may run: far more than crystals do, or time servers allow."""

FRESH = 10.0
"""Seconds after which a bound on another clock is to be renewed before anything depends on it."""

STANDSTILL = 1.0
"""Seconds between two looks at the clock, meant to come ten times in a second, that are no mere delay any more."""

_SOURCE: int | None = getattr(time, "CLOCK_BOOTTIME", getattr(time, "CLOCK_MONOTONIC", None))


def clock() -> float:
    """Monotonic seconds, on a clock that also counts while the machine is suspended."""
    return time.monotonic() if _SOURCE is None else time.clock_gettime(_SOURCE)


class RemoteClock:
    """Lower bound of another machine's :func:`clock`, from the stamps on its answers.

    An answer is read after it was stamped, so stamp − time of reading never exceeds the true difference, however slow the
    network or this process is: the largest is the closest. What is moments before a time on this bound is before that
    time in truth.
    """

    def __init__(self) -> None:
        self._difference = -math.inf
        self._since = self._heard = -math.inf

    def hear(self, stamp: object, now: float) -> None:
        """Update the estimate with the ``stamp`` of an answer that was read ``now`` by this machine's clock."""
        if isinstance(stamp, float) and math.isfinite(stamp):
            self._heard = now
            if not self.known or stamp >= self.at(now):
                self._difference, self._since = stamp - now, now

    @property
    def known(self) -> bool:
        """Whether the other side has stamped an answer."""
        return self._difference > -math.inf

    def at(self, now: float) -> float:
        """What the other clock shows at least when this one shows ``now``."""
        return now + self._difference - DRIFT * (now - self._since)

    def is_stale(self, now: float) -> bool:
        """Whether the bound is known but was not renewed for long."""
        return self.known and now - self._heard > FRESH


class StandstillDetector:
    """Detector of moments in which this process did not run: stopped, suspended with its machine, or blocked.

    ``aftermath``: seconds after one, at most and no longer than it was, in which what arrives may be from before.
    """

    def __init__(self, now: float, aftermath: float) -> None:
        self._looked, self._aftermath = now, aftermath
        self._suspect_until = -math.inf

    def look(self, now: float) -> bool:
        """Whether what arrives ``now`` may be from before a standstill; to be called ten times in a second."""
        passed, self._looked = now - self._looked, now
        if passed > STANDSTILL:
            self._suspect_until = now + min(passed, self._aftermath)
        return now < self._suspect_until
