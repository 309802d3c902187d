"""Options of the frame store."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, replace
from typing import Any

from forehand.errors import ConfigurationError, nearest

AUTO, RAW, JPEG, VIDEO = "auto", "raw", "jpeg", "video"
EXACT = "exact"
STORES = (RAW, JPEG, VIDEO, AUTO)

_UNITS = {"": 1, "B": 1, **{f"{p}B": 1000**i for i, p in enumerate("KMGT", 1)}}
_UNITS |= {f"{p}IB": 1024**i for i, p in enumerate("KMGT", 1)}


@dataclass(frozen=True)
class FrameStore:
    """Where frames come from in training.

    store: ``raw``: shards of pixels, exact, the fastest and largest; ``jpeg``: shards of JPEG pictures, with ``quality``
    from 1 to 100; ``video``: the recording itself, whose frames are decoded when they are asked for, exact; ``auto``:
    the first of these that fits, with ``lossless`` without ``jpeg``. budget: bytes that all cached frames may take, as a
    number or as ``50GB``; None: what is free on the disk. workers: threads that decode; None: as many as there are CPU
    cores.

    Raises :class:`ConfigurationError`.
    """

    store: str = RAW
    quality: int = 90
    budget: int | str | None = None
    workers: int | None = None
    lossless: bool = False

    def __post_init__(self) -> None:
        if self.store not in STORES:
            raise ConfigurationError(f"frames: there is no store {self.store!r}. {nearest(str(self.store), STORES)}")
        if not isinstance(self.quality, int) or not 1 <= self.quality <= 100:
            raise ConfigurationError(f"jpeg_quality is a whole number from 1 to 100, not {self.quality!r}.")
        if self.workers is not None and (not isinstance(self.workers, int) or self.workers < 1):
            raise ConfigurationError(f"decode_workers is a number of threads, or null, not {self.workers!r}.")
        if self.budget is not None:
            parse_bytes(self.budget)

    @property
    def max_bytes(self) -> int | None:
        """The budget in bytes."""
        return None if self.budget is None else parse_bytes(self.budget)

    def continued(self, pixels: str | None) -> FrameStore:
        """These options for a resumed run, keeping the ``pixels`` that it began with (:attr:`OpenedFrames.pixels`)."""
        if self.store != AUTO or pixels is None:
            return self
        if pixels == EXACT:
            return replace(self, lossless=True)
        return replace(self, store=JPEG, quality=int(pixels.split()[-1]))

    @property
    def threads(self) -> int:
        """Threads that decode."""
        return self.workers or available_cores()


def parse_bytes(given: Any) -> int:
    """Bytes, given as a number or in units, as ``50GB`` or ``50GiB``; raises :class:`ConfigurationError`."""
    match = re.fullmatch(r"(\d+(?:\.\d*)?)\s*([A-Z]*)", str(given).strip().upper())
    if match is None or match[2] not in _UNITS or isinstance(given, bool):
        raise ConfigurationError(f"cache_budget is a number of bytes, as 50GB or 500MB, not {given!r}.")
    return int(float(match[1]) * _UNITS[match[2]])


def in_units(count: float) -> str:
    """Bytes for people: ``1.5 GB``."""
    for unit, size in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count / 1e6:.1f} MB"


def available_cores() -> int:
    """CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
