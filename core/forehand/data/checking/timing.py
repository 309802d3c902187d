"""Checks of timestamps: gaps, jitter, and a rate that is not the stated one."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from forehand.data.checking.findings import ERROR, NOTE, WARNING, Finding, finding
from forehand.data.checking.table import FrameTable

JITTER = 0.02
"""Distance of a frame from its place, in frames, from which on timestamps are uneven; a quarter is a warning."""

RATE_TOLERANCE = 0.02
"""Relative difference of the rate from the stated one."""


def check_timing(table: FrameTable) -> Iterator[Finding]:
    """All findings about the timestamps of frames."""
    if table.times is None or len(table) < 2:
        return
    times = table.times
    yield from _rate(table)
    backward = np.flatnonzero(table.inside & (np.diff(times) <= 0))
    if len(backward):
        yield finding(
            "timestamps_backward",
            ERROR,
            f"timestamps do not increase in {len(backward)} frames",
            "Correct the timestamps: frames are out of order, or were recorded twice.",
            "timestamp",
            table.places(backward + 1),
            len(backward),
        )
    begin = np.repeat(table.starts[:-1], table.lengths)
    late = times * table.rate - (np.arange(len(table)) - begin)
    gaps = np.flatnonzero(table.inside & (np.abs(np.diff(late)) >= 0.5))
    if len(gaps):
        longest = float(np.diff(times)[gaps].max())
        yield finding(
            "timestamp_gaps",
            ERROR,
            f"frames are missing or late at {len(gaps)} places: up to {longest:.3f} s pass from one frame to the next, "
            f"where {1 / table.rate:.3f} s are due",
            "Record at an even rate, or correct the timestamps: frames are taken by their number, and not by their time.",
            "timestamp",
            table.places(gaps + 1),
            len(gaps),
        )
    jitter = np.abs(np.diff(late))
    jitter[~table.inside | (jitter >= 0.5)] = 0
    uneven = np.flatnonzero(jitter >= JITTER)
    if len(uneven) and not len(gaps):
        yield finding(
            "uneven_timestamps",
            WARNING if jitter.max() >= 0.25 else NOTE,
            f"timestamps are uneven in {len(uneven)} frames, by up to {1000 * jitter.max() / table.rate:.1f} ms",
            "Training takes frames as evenly spaced.",
            "timestamp",
            table.places(uneven + 1),
            len(uneven),
        )


def _rate(table: FrameTable) -> Iterator[Finding]:
    assert table.times is not None
    inner = np.diff(table.times)[table.inside]
    if not len(inner):
        return
    median = float(np.median(inner))
    if median > 0 and abs(median * table.rate - 1) > RATE_TOLERANCE:
        yield finding(
            "wrong_rate",
            ERROR,
            f"frames are {1000 * median:.2f} ms apart, which makes {1 / median:.4g} Hz; stated are {table.rate:g} Hz",
            "Correct the fps of meta/info.json and the contract's rate, or the timestamps.",
            "timestamp",
        )
