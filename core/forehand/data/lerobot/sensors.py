"""Sensors in a LeRobotDataset: the features, the stored form, and the frames of depth, point clouds and vectors.

Depth is an image feature with ``is_depth_map``, of lossless TIFF files in the tables: that is LeRobot's own form of raw
depth. Point clouds are columns of most · C numbers, row by row, filled up with NaN; vectors are columns of numbers.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from forehand.contracts.sensor import DEPTH, Sensor
from forehand.data.content_digest import content_digest
from forehand.data.features import read_info, sensor_key
from forehand.data.frame_cache import FRAMES_AT_ONCE, FrameBlock, MapLayout, frames_folder, open_map
from forehand.data.reading import read_errors, table_files, to_matrix
from forehand.errors import ConfigurationError, DatasetError

MODES = {"uint16": "I;16", "float32": "F"}
"""Pillow's modes of depth images."""


def require_codecs(sensors: Iterable[Sensor], images: bool = False) -> None:
    """Raise :class:`ConfigurationError` where what records these sensors, or images as files, is not installed."""
    if images or any(sensor.kind == DEPTH for sensor in sensors):
        try:
            import PIL.Image  # noqa: F401
        except ImportError as error:
            raise ConfigurationError(
                f"Recording depth, or images as files, needs {error.name}, which is not installed: pip install "
                f"'forehand[recording]'."
            ) from error


def encode_depth(depth: NDArray[Any]) -> bytes:
    """The TIFF file, losslessly compressed, of a depth image (H, W) uint16 or float32."""
    from PIL import Image

    file = io.BytesIO()
    little = np.ascontiguousarray(depth, depth.dtype.newbyteorder("<"))
    size = (depth.shape[1], depth.shape[0])
    # LZW takes 8 ms for 640 × 480, where deflate takes 27 for a fifth less.
    Image.frombytes(MODES[depth.dtype.name], size, little.tobytes()).save(file, "TIFF", compression="tiff_lzw")
    return file.getvalue()


def encode_png(pixels: NDArray[np.uint8]) -> bytes:
    """The PNG file of an image (H, W, 3)."""
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG", compress_level=3)
    return file.getvalue()


def decode_depth(data: bytes, sensor: Sensor) -> NDArray[Any]:
    """The inverse, in the shape and dtype of ``sensor``; raises ValueError for anything else."""
    from PIL import Image

    try:
        with Image.open(io.BytesIO(data)) as image:
            found = np.array(image)
    except Image.DecompressionBombError as error:
        raise ValueError(error) from error
    if found.shape != sensor.shape or found.dtype != sensor.dtype:
        raise ValueError(f"it is {found.dtype} {found.shape}, and by the contract {sensor.dtype} {sensor.shape}")
    return found


def sensor_column(sensor: Sensor, frames: Sequence[NDArray[Any]] | Sequence[bytes]) -> pa.Array:
    """The column of the tables that holds ``frames`` of ``sensor``; of depth, the files of :func:`encode_depth`."""
    if sensor.kind == DEPTH:
        return image_column(frames)
    values = np.stack([sensor.padded(np.asarray(frame)) for frame in frames]).reshape(len(frames), -1)
    flat = pa.array(values.ravel())
    # LeRobot stores vectors of one element as numbers.
    return flat if values.shape[1] == 1 else pa.FixedSizeListArray.from_arrays(flat, values.shape[1])


def image_column(files: Iterable[Any]) -> pa.Array:
    """The column of the tables that holds image files, as the library ``datasets`` stores them."""
    stored = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    return pa.array([{"bytes": file, "path": None} for file in files], stored)


def open_sensor(root: Path, sensor: Sensor, cache: Path | None = None) -> NDArray[Any]:
    """All N frames of ``sensor`` of the dataset at ``root``, (N, *full_shape), as a read-only memory map.

    It is written on the first call (:func:`forehand.data.frame_cache.open_map`), and named by a hash of the tables and of
    the sensor. Depth is in counts, as it was recorded. Raises :class:`DatasetError` naming the row that cannot be read.
    """
    info, key = read_info(root), sensor_key(sensor)
    if key not in info["features"]:
        raise DatasetError(f"The dataset at {root} has no {key!r}; it has {sorted(info['features'])}.")
    if (kind := info["features"][key]["dtype"]) == "video":
        raise DatasetError(
            f"{key!r} of the dataset at {root} is a depth video, which is quantized and not read here. Record it as "
            f"images (LeRobot: use_videos=False), or leave the sensor out."
        )
    about = json.dumps([key, info["total_frames"], kind, sensor.full_shape, sensor.dtype])
    name = hashlib.blake2b(content_digest(root, table_files(root, "data"), about).encode(), digest_size=16).hexdigest()
    layout = MapLayout(key, root, info["total_frames"], sensor.full_shape, np.dtype(sensor.dtype))
    return open_map(frames_folder(cache), name, layout, _blocks(root, key, sensor))


def _blocks(root: Path, key: str, sensor: Sensor) -> Iterator[FrameBlock]:
    first = 0
    for path in table_files(root, "data"):
        with read_errors(path), pq.ParquetFile(path) as file:
            if key not in file.schema_arrow.names:
                raise DatasetError(f"{path} lacks the column {key!r}. Fetch or copy the dataset again, whole.")
            for batch in file.iter_batches(FRAMES_AT_ONCE, columns=[key]):
                yield np.arange(first, first + len(batch)), _frames(batch.column(0), key, sensor, f"{path}", first)
                first += len(batch)


def _frames(column: pa.Array, key: str, sensor: Sensor, file: str, first: int) -> NDArray[Any]:
    """The frames of one block of rows, (n, *full_shape)."""
    if sensor.kind != DEPTH:
        try:
            values = to_matrix(column).astype(sensor.dtype)
            if None in sensor.shape:  # a dataset of fewer points fits, too
                return np.stack([sensor.padded(row) for row in values.reshape(len(values), -1, *sensor.shape[1:])])
            return values.reshape(-1, *sensor.full_shape)
        except ValueError as error:
            raise DatasetError(
                f"{key!r} in {file} cannot be read ({error}); by the contract it is {sensor.describe_shape()}."
            ) from error
    found = []
    for number, stored in enumerate(column.to_pylist()):
        try:
            found.append(decode_depth(stored["bytes"], sensor))
        except (TypeError, KeyError, OSError, ValueError) as error:
            raise DatasetError(
                f"The depth image {key!r} of row {first + number} of {file} cannot be read ({error}). Fetch or copy the "
                f"dataset again, whole."
            ) from error
    return np.stack(found)
