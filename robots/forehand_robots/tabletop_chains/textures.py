"""Surfaces made by code, so that nothing has to be downloaded: a pattern in two colours, as a PNG."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from forehand.errors import ConfigurationError
from forehand.registry import nearest
from forehand_robots.tabletop_chains.variants import Surface

SIZE = 256  # pixels, either way

Mix = NDArray[np.float64]  # (SIZE, SIZE), share of the second colour


def texture(surface: Surface) -> bytes:
    """A seamless square picture of the surface, as a PNG."""
    if surface.pattern not in PATTERNS:
        raise ConfigurationError(f"There is no pattern {surface.pattern!r}. {nearest(surface.pattern, list(PATTERNS))}")
    mix = np.clip(PATTERNS[surface.pattern](np.random.default_rng(0)), 0, 1)[..., None]
    first, second = np.array(surface.colours)
    return _png(np.round(255 * np.clip(first + (second - first) * mix, 0, 1)).astype(np.uint8))


def _plain(rng: np.random.Generator) -> Mix:
    return 0.5 + 0.3 * _noise(rng, 24, 24)


def _wood(rng: np.random.Generator) -> Mix:
    rings = 5 * _noise(rng, 2, 7)
    return 0.5 + 0.32 * np.sin(2 * np.pi * (_ramp()[:, None] * 6 + rings * 0.35)) + 0.18 * _noise(rng, 6, 90)


def _planks(rng: np.random.Generator) -> Mix:
    planks = 6
    row = (_ramp() * planks).astype(int)
    tone = rng.uniform(0.1, 0.7, planks)[row]
    seam = (np.arange(SIZE) % (SIZE / planks) < 3).astype(float)
    return tone[:, None] + 0.25 * _noise(rng, 4, 80) + seam[:, None]


def _tiles(rng: np.random.Generator) -> Mix:
    edge = np.arange(SIZE) % (SIZE // 4) < 3
    return np.where(edge[:, None] | edge[None, :], 1.0, 0.25 + 0.2 * _noise(rng, 8, 8))


def _terrazzo(rng: np.random.Generator) -> Mix:
    return np.clip((_noise(rng, 40, 40) - 1.3) * 3, 0, 1) + 0.6 * np.clip((_noise(rng, 60, 60) - 1.6) * 4, 0, 1)


def _cloth(rng: np.random.Generator) -> Mix:
    thread = np.sin(2 * np.pi * _ramp() * 32)
    return 0.5 + 0.3 * thread[:, None] * thread[None, :] + 0.2 * _noise(rng, 30, 30)


PATTERNS: Mapping[str, Callable[[np.random.Generator], Mix]] = {
    "plain": _plain,
    "wood": _wood,
    "planks": _planks,
    "tiles": _tiles,
    "terrazzo": _terrazzo,
    "cloth": _cloth,
}


def _ramp() -> Mix:
    return np.arange(SIZE) / SIZE


def _noise(rng: np.random.Generator, across: int, down: int) -> Mix:
    """Smooth, seamless noise of unit variance with about this many bumps across and down."""
    spectrum = np.fft.fft2(rng.normal(size=(SIZE, SIZE)))
    fy, fx = np.fft.fftfreq(SIZE) * SIZE, np.fft.fftfreq(SIZE) * SIZE
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
