"""Feature cache: what a frozen vision tower makes of every frame of a camera, in one memory-mapped file."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from forehand.data.frame_cache import FRAMES_AT_ONCE, FrameBlock, MapLayout, frames_folder, open_map
from forehand.data.frozen_features import Array, FrozenFeatures
from forehand.data.source import FrameReader, Pictures


def open_features(pictures: Pictures, frames: FrameReader, features: FrozenFeatures, cache: Path | None = None) -> Array:
    """Features of all ``frames`` (N, H, W, 3) of ``pictures``, (N, *shape) float16.

    The first call computes them; afterwards they are a read-only memory map, which any process shares that asks for the
    same frames and the same weights. An interrupted computation is started over. Raises :class:`DatasetError`.
    """
    folder = frames_folder(cache)
    pixels = getattr(frames, "name", None) or f"{pictures.digest()} {frames.shape}"
    about = f"features\0{features.digest}\0{pixels}"
    name = hashlib.blake2b(about.encode(), digest_size=16).hexdigest()
    layout = MapLayout(f"{pictures.key} (features)", pictures.root, len(frames), features.shape, np.dtype(np.float16))
    return open_map(folder, name, layout, _blocks(frames, features))


def _blocks(frames: FrameReader, features: FrozenFeatures) -> Iterator[FrameBlock]:
    for start in range(0, len(frames), FRAMES_AT_ONCE):
        some = np.arange(start, min(start + FRAMES_AT_ONCE, len(frames)))
        yield some, features.encode(frames[some]).astype(np.float16)
