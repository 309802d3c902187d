"""Video of a recorded episode: all cameras side by side, and depth in colours behind them."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from forehand.contracts.contract import Contract
from forehand.contracts.sensor import DEPTH, Sensor
from forehand.data.checking.table import FrameTable
from forehand.data.source import DataSource
from forehand.running.depth_colours import DepthColours
from forehand.utils.video import Encoding, VideoWriter

ENCODING = Encoding(crf=24, gop=12, preset="veryfast")
"""A key frame every twelve frames: browsers seek at once."""

MOST_FRAMES = 900
"""Frames of a video; of longer episodes every n-th is shown, at as many n-ths of the rate."""

_AT_ONCE = 32


def write_episode_video(path: Path, source: DataSource, table: FrameTable, position: int, height: int) -> None:
    """Write an MP4 of the episode at ``position`` in ``table``, at its own speed, ``height`` pixels high at most.

    Raises :class:`DatasetError` where images cannot be read.
    """
    writer = None
    stride = max(1, -(-int(table.lengths[position]) // MOST_FRAMES))
    for frame in _frames(source, table, position, height, stride):
        if writer is None:
            rate = Fraction(table.rate / stride).limit_denominator(1000)
            writer = VideoWriter(path, rate, frame.shape[0], frame.shape[1], ENCODING)
        writer.write(frame)
    if writer is not None:
        writer.close()


def _frames(
    source: DataSource, table: FrameTable, position: int, height: int, stride: int
) -> Iterator[NDArray[np.uint8]]:
    numbers = source.frame_numbers
    pictures = [source.pictures(camera.name) for camera in source.contract.cameras]
    sensors = depth_sensors(source.contract)
    depths = [(DepthColours(sensor), source.sensor(sensor)) for sensor in sensors]
    recorded = [camera.height for camera in source.contract.cameras] + [sensor.full_shape[0] for sensor in sensors]
    height = min(height, max(recorded))
    rows = np.arange(table.starts[position], table.starts[position + 1], stride)
    for start in range(0, len(rows), _AT_ONCE):
        some = rows[start : start + _AT_ONCE]
        some = some if numbers is None else numbers[some]
        measured = [reader[some] for _, reader in depths]
        seen = [camera.read(some) for camera in pictures]
        for i in range(len(some)):
            shown = [_scaled(images[i], height) for images in seen]
            shown += [
                colours.write_label(_scaled(colours.paint(values[i]), height))
                for (colours, _), values in zip(depths, measured, strict=True)
            ]
            frame = np.concatenate(shown, axis=1)
            yield frame[: height - height % 2, : frame.shape[1] - frame.shape[1] % 2]  # H.264 halves the colour planes


def depth_sensors(contract: Contract) -> list[Sensor]:
    """The depth sensors of a contract."""
    return [sensor for sensor in contract.sensors if sensor.kind == DEPTH]


def _scaled(image: NDArray[np.uint8], height: int) -> NDArray[np.uint8]:
    from PIL import Image

    if image.shape[0] == height:
        return image
    width = max(1, round(image.shape[1] * height / image.shape[0]))
    return np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.LANCZOS))
