"""Resizing camera frames, with numpy alone: training data and a running policy must see the very same pixels."""

from __future__ import annotations

import functools

import numpy as np
from numpy.typing import NDArray

Size = tuple[int, int]

_FRAMES_AT_ONCE = 64  # keeps the floating-point copies of large recordings small


def resize(frames: NDArray[np.uint8], size: int | Size) -> NDArray[np.uint8]:
    """Resize ``frames`` (N, H, W, 3) uint8 to ``size`` (height, width), or a square of one number.

    Whole-number reductions are exact averages over boxes; anything else is bilinear interpolation with antialiasing (a
    triangle filter as wide as the reduction). The aspect ratio follows ``size``; nothing is cropped. Frames that have the
    size already are returned as they are, whatever their type.
    """
    height, width = (size, size) if isinstance(size, int) else size
    if frames.ndim == 4 and frames.shape[1:3] == (height, width):
        return frames
    if frames.ndim != 4 or frames.dtype != np.uint8:
        raise ValueError(f"resize needs uint8 frames (N, H, W, C), not {frames.dtype} {frames.shape}")
    if height < 1 or width < 1:
        raise ValueError(f"resize cannot make frames of {height} × {width} pixels")
    if frames.shape[1] % height == 0 and frames.shape[2] % width == 0:
        return _box(frames, height, width)
    return _triangle(frames, height, width)


def _box(frames: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    rows, columns = frames.shape[1] // height, frames.shape[2] // width
    total = np.zeros((len(frames), height, width, frames.shape[3]), np.uint32)
    for row in range(rows):
        for column in range(columns):
            total += frames[:, row::rows, column::columns]
    count = rows * columns
    return ((total + count // 2) // count).astype(np.uint8)


def _triangle(frames: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    count, _, _, channels = frames.shape
    vertical, horizontal = _weights(frames.shape[1], height), _weights(frames.shape[2], width)
    out = np.empty((count, height, width, channels), np.uint8)
    for start in range(0, count, _FRAMES_AT_ONCE):
        block = frames[start : start + _FRAMES_AT_ONCE].astype(np.float32)
        rows = vertical @ block.reshape(len(block), frames.shape[1], -1)
        block = horizontal @ rows.reshape(len(block), height, frames.shape[2], channels)
        out[start : start + len(block)] = np.clip(block + 0.5, 0, 255).astype(np.uint8)
    return out


@functools.cache
def _weights(source: int, target: int) -> NDArray[np.float32]:
    """(target, source): how much of each source pixel each target pixel takes."""
    scale = source / target
    radius = max(scale, 1.0)
    centres = (np.arange(target) + 0.5) * scale
    distance = np.abs(np.arange(source) + 0.5 - centres[:, None]) / radius
    weights = np.clip(1.0 - distance, 0.0, None)
    return (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)
