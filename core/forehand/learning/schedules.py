"""Learning-rate schedules: the share of the peak learning rate that a step has."""

from __future__ import annotations

import math


def cosine(done: float) -> float:
    """A cosine from 1 to 0, at the share ``done`` of the schedule."""
    return 0.5 * (1 + math.cos(math.pi * done))
