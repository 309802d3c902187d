"""Records of TFRecord and array_record files: where they begin, and what they hold, checked by their checksums."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from forehand.data.importing.source_files import readable
from forehand.errors import ConfigurationError, DatasetError

_HEADER, _FOOTER = 12, 4  # length and its checksum; the checksum of the content

Values = Mapping[str, Any]
"""Key of ``tf.train.Example`` → an array of float32 or int64, or a list of bytes."""


def record_spans(path: Path) -> Iterator[tuple[int, int]]:
    """The place and the length of the content of each record, from the lengths alone.

    Raises :class:`DatasetError` for a file that ends within a record or whose lengths are damaged.
    """
    size, place = path.stat().st_size, 0
    with readable(path), path.open("rb") as file:
        while place < size:
            file.seek(place)
            header = file.read(_HEADER)
            if len(header) < _HEADER:
                raise DatasetError(f"{path} ends within a record, at byte {size}. Fetch or copy it again, whole.")
            _check(path, place, header[:8], header[8:])
            (length,) = struct.unpack("<Q", header[:8])
            if place + _HEADER + length + _FOOTER > size:
                raise DatasetError(f"{path} ends within a record, at byte {size}. Fetch or copy it again, whole.")
            yield place + _HEADER, length
            place += _HEADER + length + _FOOTER


def read_record(path: Path, place: int, length: int) -> Values:
    """The content of the record at ``place``; raises :class:`DatasetError` where its checksum is another."""
    with readable(path), path.open("rb") as file:
        file.seek(place)
        content = file.read(length)
        _check(path, place, content, file.read(_FOOTER))
    return parse_example(path, content)


def array_record_spans(path: Path) -> list[tuple[int, int]]:
    """The numbers of the records of an array_record file, in the place of :func:`record_spans`; lengths are 0."""
    with _array_record(path) as reader:
        return [(i, 0) for i in range(reader.num_records())]


def read_array_record(path: Path, number: int) -> Values:
    """The content of the record ``number`` of an array_record file."""
    with _array_record(path) as reader:
        (content,) = reader.read([number])
    return parse_example(path, content)


def parse_example(path: Path, content: bytes) -> Values:
    """The values of a serialized ``tf.train.Example``."""
    try:
        from google.protobuf.message import DecodeError
        from tfrecord.example_pb2 import Example
    except ImportError as error:
        raise missing_library(error) from error
    try:
        features = Example.FromString(content).features.feature
    except DecodeError as error:
        raise DatasetError(f"{path} holds a record that is no tf.train.Example ({error}).") from error
    found: dict[str, Any] = {}
    for key, feature in features.items():
        kind = feature.WhichOneof("kind")
        if kind == "bytes_list":
            found[key] = list(feature.bytes_list.value)
        elif kind is not None:
            values = getattr(feature, kind).value
            found[key] = np.array(values, np.float32 if kind == "float_list" else np.int64)
    return found


def missing_library(error: ImportError) -> ConfigurationError:
    """What to install where ``error`` says that a library is missing."""
    return ConfigurationError(f"RLDS datasets need {error.name}, which is not installed: pip install 'forehand[rlds]'.")


@contextmanager
def _array_record(path: Path) -> Iterator[Any]:
    try:
        from array_record.python.array_record_module import ArrayRecordReader
    except ImportError as error:
        raise missing_library(error) from error
    try:
        with readable(path), closing(ArrayRecordReader(str(path))) as reader:
            yield reader
    except RuntimeError as error:
        raise DatasetError(f"{path} cannot be read ({error}). Fetch it again.") from error


def _check(path: Path, place: int, content: bytes, checksum: bytes) -> None:
    """Raise :class:`DatasetError` unless ``checksum`` is the masked CRC-32C of ``content``, as TFRecord defines it."""
    try:
        from crc32c import crc32c
    except ImportError as error:
        raise missing_library(error) from error
    crc = crc32c(content)
    masked = (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF
    if struct.pack("<I", masked) != checksum:
        raise DatasetError(f"{path} is damaged: the bytes from {place} on have another checksum. Fetch it again.")
