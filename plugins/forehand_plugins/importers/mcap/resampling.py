"""Resampling: which message of each topic a control step takes, without looking across gaps. No interpolation."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

LATEST, NEAREST, COMMAND = "latest", "nearest", "command"
SECOND = 10**9

Times = NDArray[np.int64]
Use = tuple[str, str]
"""A topic, and how a step takes its message: the latest one or the nearest at the step's time, or the latest command
when the step ends, which answers what was observed at its beginning."""


@dataclass(frozen=True)
class Run:
    """Consecutive steps without a gap.

    start: ns. picks: use → the numbers of the topic's messages, one a step. lost: why → how many steps are missing before
    it, and behind the last run.
    """

    start: int
    picks: Mapping[Use, NDArray[np.int64]]
    lost: Mapping[str, int]

    def __len__(self) -> int:
        return len(next(iter(self.picks.values())))


def runs(
    stamps: Mapping[str, Times], uses: Sequence[Use], rate: float, gaps: Mapping[str, float], begin: int, end: int
) -> list[Run]:
    """The runs between ``begin`` and ``end`` (ns) at ``rate`` steps a second.

    stamps: topic → the times of its messages in ns, in any order. gaps: topic → the oldest message in s that a step may
    take. The first step is at ``begin``, or when every topic that is observed has a message.
    """
    if any(not len(stamps[topic]) for topic, _ in uses):
        return []
    begin = max(begin, *(int(stamps[topic].min()) for topic, how in uses if how != COMMAND))
    end = min(end, max(int(stamps[topic].max()) for topic, _ in uses))
    period = SECOND / rate
    times = begin + np.rint(np.arange(max(int((end - begin) / period) + 1, 0)) * period).astype(np.int64)
    picks: dict[Use, Times] = {}
    reason = np.full(len(times), "", object)
    for topic, how in uses:
        picks[topic, how], age = _pick(stamps[topic], times + (round(period) if how == COMMAND else 0), how == NEAREST)
        late = (age > gaps[topic] * SECOND) & (reason == "")
        reason[late] = f"a gap in {topic}"
    return _split(times, picks, reason)


def _split(times: Times, picks: Mapping[Use, Times], reason: NDArray[np.object_]) -> list[Run]:
    found: list[Run] = []
    lost: Counter[str] = Counter()
    first = None
    for i, why in enumerate([*reason, None]):
        if why == "":
            first = i if first is None else first
            continue
        if first is not None:
            part = {use: numbers[first:i] for use, numbers in picks.items()}
            found.append(Run(int(times[first]), part, dict(lost)))
            first, lost = None, Counter()
        if why is not None:
            lost[why] += 1
    if found and lost:
        last = found[-1]
        found[-1] = Run(last.start, last.picks, dict(Counter(last.lost) + lost))
    return found


def _pick(stamps: Times, times: Times, nearest: bool) -> tuple[Times, NDArray[np.float64]]:
    """The numbers of the messages for ``times``, and how far they are in ns; infinite where there is none."""
    order = np.argsort(stamps, kind="stable")
    ordered = stamps[order]
    latest = np.searchsorted(ordered, times, side="right") - 1
    chosen = np.maximum(latest, 0)
    if nearest:
        following = np.minimum(latest + 1, len(ordered) - 1)
        nearer = (latest < 0) | (np.abs(ordered[following] - times) < np.abs(times - ordered[chosen]))
        chosen = np.where(nearer, following, chosen)
    age = np.abs(times - ordered[chosen]).astype(np.float64)
    if not nearest:
        age[latest < 0] = np.inf
    return order[chosen], age
