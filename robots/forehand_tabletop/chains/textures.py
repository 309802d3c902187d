"""Procedural textures: two-colour patterns as PNG files, with nothing to download."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from forehand.errors import ConfigurationError, nearest
from forehand_tabletop.chains.variants import Surface

SIZE = 256  # pixels, either way

Mix = NDArray[np.float64]  # (size, size), share of the second colour


def texture(surface: Surface, size: int = SIZE) -> bytes:
    """A seamless square picture of the surface, ``size`` pixels either way, as a PNG."""
    if surface.pattern not in PATTERNS:
        raise ConfigurationError(f"There is no pattern {surface.pattern!r}. {nearest(surface.pattern, list(PATTERNS))}")
    mix = np.clip(PATTERNS[surface.pattern](np.random.default_rng(0), size), 0, 1)[..., None]
    first, second = np.array(surface.colours)
    return _png(np.round(255 * np.clip(first + (second - first) * mix, 0, 1)).astype(np.uint8))


def _plain(rng: np.random.Generator, size: int) -> Mix:
    return 0.5 + 0.3 * _noise(rng, size, 24, 24)


def _wood(rng: np.random.Generator, size: int) -> Mix:
    rings = 5 * _noise(rng, size, 2, 7)
    return 0.5 + 0.32 * np.sin(2 * np.pi * (_ramp(size)[:, None] * 6 + rings * 0.35)) + 0.18 * _noise(rng, size, 6, 90)


def _planks(rng: np.random.Generator, size: int) -> Mix:
    planks = 6
    row = (_ramp(size) * planks).astype(int)
    tone = rng.uniform(0.1, 0.7, planks)[row]
    seam = (_ramp(size) * planks % 1 < 3 * planks / SIZE).astype(float)
    return tone[:, None] + 0.25 * _noise(rng, size, 4, 80) + seam[:, None]


def _tiles(rng: np.random.Generator, size: int) -> Mix:
    edge = _ramp(size) * 4 % 1 < 12 / SIZE
    return np.where(edge[:, None] | edge[None, :], 1.0, 0.25 + 0.2 * _noise(rng, size, 8, 8))


def _terrazzo(rng: np.random.Generator, size: int) -> Mix:
    return np.clip((_noise(rng, size, 40, 40) - 1.3) * 3, 0, 1) + 0.6 * np.clip(
        (_noise(rng, size, 60, 60) - 1.6) * 4, 0, 1
    )


def _cloth(rng: np.random.Generator, size: int) -> Mix:
    thread = np.sin(2 * np.pi * _ramp(size) * 32)
    return 0.5 + 0.3 * thread[:, None] * thread[None, :] + 0.2 * _noise(rng, size, 30, 30)


PATTERNS: Mapping[str, Callable[[np.random.Generator, int], Mix]] = {
    "plain": _plain,
    "wood": _wood,
    "planks": _planks,
    "tiles": _tiles,
    "terrazzo": _terrazzo,
    "cloth": _cloth,
}


def _ramp(size: int) -> Mix:
    return np.arange(size) / size


def _noise(rng: np.random.Generator, size: int, across: int, down: int) -> Mix:
    """Smooth, seamless noise of unit variance with about this many bumps across and down."""
    spectrum = np.fft.fft2(rng.normal(size=(size, size)))
    fy, fx = np.fft.fftfreq(size) * size, np.fft.fftfreq(size) * size
    spectrum *= np.exp(-((fx[None, :] / across) ** 2) - (fy[:, None] / down) ** 2)
    noise = np.fft.ifft2(spectrum).real
    return np.asarray(noise / noise.std())


def _png(pixels: NDArray[np.uint8]) -> bytes:
    height, width, _ = pixels.shape
    rows = b"".join(b"\x00" + row.tobytes() for row in pixels)

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
