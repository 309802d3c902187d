"""Segments of CALVIN's play data: annotated ones, and what lies outside them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from forehand.data.importing.source_files import readable
from forehand.errors import DatasetError
from forehand_plugins.importers.calvin.annotations import Segment

Span = tuple[int, int]
"""First and last frame, both included."""


def read_ranges(path: Path) -> list[Span]:
    """The recorded ranges of ``ep_start_end_ids.npy``; frames outside them belong to nothing."""
    with readable(path):
        table = np.load(path, allow_pickle=False)
    if table.ndim != 2 or table.shape[1] != 2 or not np.issubdtype(table.dtype, np.integer):
        raise DatasetError(f"{path} is {table.dtype} {table.shape}, and no table of first and last frames (n, 2).")
    if len(wrong := np.flatnonzero(table[:, 0] > table[:, 1])):
        raise DatasetError(f"{path} has a range that ends before it begins: {table[wrong[0]].tolist()}.")
    return [(int(first), int(last)) for first, last in table]


def inside(segment: Segment, ranges: Sequence[Span]) -> bool:
    """Whether all frames of a segment lie in one recorded range."""
    return any(first <= segment.first and segment.last <= last for first, last in ranges)


def between(ranges: Sequence[Span], annotated: Sequence[Segment]) -> list[Span]:
    """The longest runs of recorded frames that belong to no annotated segment, in the order of ``ranges``."""
    taken = sorted((s.first, s.last) for s in annotated)
    found = []
    for first, last in ranges:
        start = first
        for begin, end in taken:
            if end < start or begin > last:
                continue
            if begin > start:
                found.append((start, begin - 1))
            start = max(start, end + 1)
        if start <= last:
            found.append((start, last))
    return found
