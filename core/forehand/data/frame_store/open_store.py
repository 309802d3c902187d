"""Opening of the frame store: what is chosen, room for it, and the frames of all cameras."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from forehand.data.frame_cache import frames_folder, remove_partial
from forehand.data.frame_store.budget import find_room, make_room
from forehand.data.frame_store.jpeg import AVAILABLE, JpegFrames
from forehand.data.frame_store.options import AUTO, EXACT, JPEG, RAW, VIDEO, FrameStore, in_units
from forehand.data.frame_store.raw import RawFrames
from forehand.data.frame_store.shards import ShardedFrames
from forehand.data.frame_store.stored_frames import StoredFrames
from forehand.data.frame_store.video import VideoFrames
from forehand.data.source import Pictures
from forehand.utils.images import Size

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class FrameRequest:
    """Frames of one camera of a source: ``numbers`` (n,) of them are going to be used, None: all."""

    pictures: Pictures
    size: Size
    method: str = "area"
    numbers: NDArray[np.int64] | None = None

    @property
    def name(self) -> str:
        """A hash of the pictures' content, their size, and how they are resized; the same on every machine."""
        about = f"{self.pictures.digest()}\0{self.size}\0{self.method}"
        return hashlib.blake2b(about.encode(), digest_size=16).hexdigest()


@dataclass(frozen=True)
class OpenedFrames:
    """What :func:`open_frame_store` gives: readers in the order of the requests, the store that was chosen, and why.

    pixels: ``exact``, or ``jpeg`` and its quality; readers of equal pixels are equal to the bit, whatever their store.
    """

    readers: tuple[StoredFrames, ...]
    store: str
    why: str
    pixels: str

    def __str__(self) -> str:
        return f"frames={self.store}: {self.why}"


def open_frame_store(
    requests: Sequence[FrameRequest], options: FrameStore | None = None, cache: Path | None = None
) -> OpenedFrames:
    """The frames of ``requests``, decoded first where the store keeps them and does not have them yet.

    cache: folder, by default :func:`forehand.data.frame_cache.cache_folder`. The choice goes to the log. Raises
    :class:`DatasetError` where frames cannot be decoded, or do not fit.
    """
    options, folder = options or FrameStore(), frames_folder(cache)
    named = [(request, request.name) for request in requests]
    store, why = (options.store, "as configured") if options.store != AUTO else _choose(named, options, folder)
    pixels = f"{JPEG} {options.quality}" if store == JPEG else EXACT
    opened = OpenedFrames(_readers(named, options, folder, store), store, why, pixels)
    if options.store == AUTO:
        log.info("%s", opened)
    if store != VIDEO:
        _decode(opened.readers, requests, options.max_bytes, folder)
    return opened


def _decode(readers: Sequence[StoredFrames], requests: Sequence[FrameRequest], budget: int | None, folder: Path) -> None:
    """Make room for what is missing, and decode it."""
    needed, keys = 0.0, []
    for reader, request in zip(readers, requests, strict=True):
        assert isinstance(reader, ShardedFrames)
        if missing := reader.missing(request.numbers):
            reader.hold()
            needed += reader.byte_size(missing)
            keys.append(reader.pictures.key)
    if keys:
        remove_partial(folder)
        make_room(folder, budget, needed, ", ".join(dict.fromkeys(keys)))
    for reader, request in zip(readers, requests, strict=True):
        reader.prepare(request.numbers)


def _readers(
    named: Sequence[tuple[FrameRequest, str]], options: FrameStore, folder: Path, store: str
) -> tuple[StoredFrames, ...]:
    readers: list[StoredFrames] = []
    for request, name in named:
        pictures, size, method = request.pictures, request.size, request.method
        if store == VIDEO:
            readers.append(VideoFrames(pictures, size, method, name, options.threads))
        elif store == JPEG:
            readers.append(JpegFrames(pictures, size, method, folder, name, options.threads, options.quality))
        else:
            readers.append(RawFrames(pictures, size, method, folder, name, options.threads))
    return tuple(readers)


def _choose(named: Sequence[tuple[FrameRequest, str]], options: FrameStore, folder: Path) -> tuple[str, str]:
    """The first store that fits, and why."""
    budget, tried = options.max_bytes, list[str]()
    room = find_room(folder, budget).after_removal
    limit = f"{in_units(max(room, 0))} in {folder}" + ("" if budget is None else f" by cache_budget={in_units(budget)}")
    for store in (RAW, JPEG) if AVAILABLE and not options.lossless else (RAW,):
        readers = _readers(named, options, folder, store)
        needed = 0.0
        for reader, (request, _) in zip(readers, named, strict=True):
            assert isinstance(reader, ShardedFrames)
            if missing := reader.missing(request.numbers):
                needed += reader.byte_size(missing)
        if not needed:
            return store, "stored already"
        if needed <= room:
            return store, f"{in_units(needed)} to be decoded, room for {limit}" + "".join(tried)
        tried.append(f"; {store} would need {in_units(needed)}")
    return VIDEO, f"room for {limit}" + "".join(tried)
