"""Times of training steps by what they were spent on, and peak memory. Needs torch."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator

import torch

DATA, COMMUNICATION, CALLBACKS = "data", "communication", "callbacks"


class StepTimes:
    """Wall-clock times since the last :meth:`read`, by part; what no part takes is computing.

    Where a device computes behind the program, the times are those of the program, which waits for it once an entry.
    clock: seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self._began = clock()
        self._spent: dict[str, float] = {}

    @contextlib.contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Count the time inside as spent on ``name``; parts do not lie inside each other."""
        began = self._clock()
        try:
            yield
        finally:
            self._spent[name] = self._spent.get(name, 0.0) + self._clock() - began

    def read(self) -> tuple[float, dict[str, float]]:
        """Seconds in all, and by part: ``data`` (waiting for batches), ``compute`` and what else was measured."""
        now = self._clock()
        total = now - self._began
        parts = {DATA: 0.0} | self._spent
        self._began, self._spent = now, {}
        return total, {**parts, "compute": max(0.0, total - sum(parts.values()))}


def peak_memory(device: torch.device) -> int:
    """Bytes: on a CUDA device the most since the last call, else the most that this process has had so far."""
    if device.type == "cuda":
        most = torch.cuda.max_memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        return most
    try:
        import resource
    except ImportError:  # Windows
        return 0
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024
