"""Sensor files of an episode that is being recorded, and their columns and statistics."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from forehand.contracts.sensor import DEPTH, POINT_CLOUD, VECTOR, Sensor
from forehand.data.episode_table import column_statistics
from forehand.data.lerobot.sensors import encode_depth, encode_png, image_column, sensor_column

Statistics = Mapping[str, Any]

_SAMPLES = 32  # pixels along the shorter side that statistics of depth look at
_POINTS = 1024  # of a cloud that statistics look at, about


class SensorWriter:
    """One sensor of one episode: its frames end to end in the file at ``path``, as TIFF files or plain numbers.

    lengths: bytes of each frame.
    """

    def __init__(self, path: Path, sensor: Sensor) -> None:
        self.sensor = sensor
        self.lengths: list[int] = []
        self._file: BinaryIO = path.open("wb")
        self._samples: list[NDArray[Any]] = []

    def write(self, values: NDArray[Any]) -> None:
        """Append one frame."""
        data = encode_depth(values) if self.sensor.kind == DEPTH else np.ascontiguousarray(values, "<f4").tobytes()
        self._file.write(data)
        self.lengths.append(len(data))
        if self.sensor.kind == DEPTH:
            stride = max(1, min(values.shape) // _SAMPLES)
            pixels = values[::stride, ::stride]
            self._samples.append(pixels[pixels > 0])
        elif self.sensor.kind == POINT_CLOUD:
            points = values[~np.isnan(values).any(axis=-1)]
            self._samples.append(points[:: max(1, len(points) // _POINTS)])

    def close(self) -> None:
        """Finish the file."""
        self._file.close()

    def abandon(self) -> None:
        """Close a file that is discarded, also where the disk is full."""
        with suppress(OSError):
            self._file.close()

    def statistics(self) -> dict[str, NDArray[Any]] | None:
        """Of depth that was measured, each (1, 1, 1) in the sensor's unit; of a cloud's points, each (C,).

        Those of vectors follow from their column in the tables: None.
        """
        if self.sensor.kind == VECTOR:
            return None
        seen = np.concatenate(self._samples)
        width = 1 if self.sensor.kind == DEPTH else self.sensor.full_shape[1]
        found = column_statistics(seen.reshape(-1, width) if len(seen) else np.zeros((1, width)))
        if self.sensor.kind == DEPTH:
            found = {name: values.reshape(1, 1, 1) for name, values in found.items()}
        return found | {"count": np.array([len(self.lengths)])}


class ImageWriter:
    """The images of one camera of one episode, as files end to end in the file at ``path``.

    lengths: bytes of each.
    """

    def __init__(self, path: Path) -> None:
        self.lengths: list[int] = []
        self._file: BinaryIO = path.open("wb")

    def write(self, pixels: NDArray[np.uint8], file: bytes | None = None) -> None:
        """Append ``file``, or without one the pixels (H, W, 3) as PNG, which loses nothing."""
        data = encode_png(pixels) if file is None else file
        self._file.write(data)
        self.lengths.append(len(data))

    def close(self) -> None:
        """Finish the file."""
        self._file.close()

    def abandon(self) -> None:
        """Close a file that is discarded, also where the disk is full."""
        with suppress(OSError):
            self._file.close()


def read_images(path: Path, lengths: NDArray[np.int64]) -> pa.Array:
    """The column of the images in a file of :class:`ImageWriter`, one row each."""
    data, ends = path.read_bytes(), np.cumsum(lengths)
    return image_column(data[end - n : end] for end, n in zip(ends.tolist(), lengths.tolist(), strict=True))


def read_sensor(path: Path, sensor: Sensor, lengths: NDArray[np.int64]) -> pa.Array:
    """The column of the frames in a file of :class:`SensorWriter`, one row each."""
    data, ends = path.read_bytes(), np.cumsum(lengths)
    frames = [data[end - length : end] for end, length in zip(ends.tolist(), lengths.tolist(), strict=True)]
    if sensor.kind == DEPTH:
        return sensor_column(sensor, frames)
    return sensor_column(sensor, [np.frombuffer(f, "<f4").reshape(-1, *sensor.shape[1:]) for f in frames])
