"""Image resizing with numpy alone, so that training and inference use equal pixels."""

from __future__ import annotations

import functools

import numpy as np
from numpy.typing import NDArray

Size = tuple[int, int]

METHODS = ("area", "bicubic")

_CUBIC_ONE = 2**22

_FRAMES_AT_ONCE = 64  # keeps the floating-point copies of large recordings small


def resize(frames: NDArray[np.uint8], size: int | Size, method: str = "area") -> NDArray[np.uint8]:
    """Resize ``frames`` (N, H, W, 3) uint8 to ``size`` (height, width), or a square of one number.

    method: ``area``: whole-number reductions are exact averages over boxes, and anything else is bilinear interpolation
    with antialiasing (a triangle filter as wide as the reduction); the aspect ratio follows ``size``, and nothing is
    cropped. ``bicubic``: what CLIP's preprocessing does: the shorter side is brought to ``size`` by bicubic interpolation
    with antialiasing, as Pillow computes it, and the middle is cut out. Frames that have the size already are returned as
    they are, whatever their type.
    """
    height, width = (size, size) if isinstance(size, int) else size
    if frames.ndim == 4 and frames.shape[1:3] == (height, width):
        return frames
    if frames.ndim != 4 or frames.dtype != np.uint8:
        raise ValueError(f"resize needs uint8 frames (N, H, W, C), not {frames.dtype} {frames.shape}")
    if height < 1 or width < 1:
        raise ValueError(f"resize cannot make frames of {height} × {width} pixels")
    if method == "bicubic":
        return _middle(frames, height, width)
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


def _middle(frames: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    scale = max(height / frames.shape[1], width / frames.shape[2])
    rows, columns = max(height, int(frames.shape[1] * scale)), max(width, int(frames.shape[2] * scale))
    top, left = round((rows - height) / 2), round((columns - width) / 2)
    vertical, horizontal = _cubic_taps(frames.shape[1], rows), _cubic_taps(frames.shape[2], columns)
    down, across = slice(top, top + height), slice(left, left + width)
    out = np.empty((len(frames), height, width, frames.shape[3]), np.uint8)
    for start in range(0, len(frames), _FRAMES_AT_ONCE):
        block = frames[start : start + _FRAMES_AT_ONCE].astype(np.int32)
        block = _interpolated(block, 2, horizontal[0][across], horizontal[1][across])
        out[start : start + len(block)] = _interpolated(block, 1, vertical[0][down], vertical[1][down])
    return out


def _interpolated(
    frames: NDArray[np.int32], axis: int, pixels: NDArray[np.intp], weights: NDArray[np.int32]
) -> NDArray[np.int32]:
    """``frames`` (N, H, W, C) along ``axis``: sums of ``pixels`` by ``weights`` (target, K each), as whole levels."""
    shape = [1, 1, 1, 1]
    shape[axis] = len(pixels)
    total: NDArray[np.int32] = np.array(_CUBIC_ONE // 2, np.int32)  # to round
    for taken, weight in zip(pixels.T, weights.T, strict=True):
        total = total + np.take(frames, taken, axis) * weight.reshape(shape)
    levels: NDArray[np.int32] = np.clip(total // _CUBIC_ONE, 0, 255)
    return levels


@functools.cache
def _cubic_taps(source: int, target: int) -> tuple[NDArray[np.intp], NDArray[np.int32]]:
    """(target, K) each: the source pixels that each target pixel takes, and how much of each (Keys 1981, a = -0.5).

    In whole parts of :data:`_CUBIC_ONE`, as Pillow has them, so that sums are exact, and round as Pillow's do.
    """
    scale = source / target
    centres = (np.arange(target) + 0.5) * scale
    x = np.abs(np.arange(source) + 0.5 - centres[:, None]) / max(scale, 1.0)
    near, far = (1.5 * x - 2.5) * x * x + 1, ((-0.5 * x + 2.5) * x - 4) * x + 2
    shares = np.where(x < 1, near, np.where(x < 2, far, 0.0))
    shares *= _CUBIC_ONE / shares.sum(axis=1, keepdims=True)
    parts = np.trunc(shares + np.copysign(0.5, shares)).astype(np.int32)
    first, after = (parts != 0).argmax(axis=1), source - (parts[:, ::-1] != 0).argmax(axis=1)
    count = int((after - first).max())
    pixels = np.minimum(first, source - count)[:, None] + np.arange(count)
    return pixels, np.take_along_axis(parts, pixels, axis=1)
