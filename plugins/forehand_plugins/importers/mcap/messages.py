"""Contents of ROS messages: pictures, and numbers of their fields."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from forehand.data.importing.importer import Picture
from forehand.errors import ConfigurationError, DatasetError, nearest

_CHANNELS = {"rgb8": (0, 1, 2), "bgr8": (2, 1, 0), "rgba8": (0, 1, 2), "bgra8": (2, 1, 0), "mono8": (0, 0, 0)}
"""Encoding of ``sensor_msgs/Image`` → which channels are red, green and blue."""


def topic_of(key: str) -> str:
    """The topic of a key ``/topic``, ``/topic:field.field`` or ``/topic:field:name,name``."""
    return key.partition(":")[0]


def numbers_of(key: str, message: Any) -> NDArray[np.float64]:
    """The numbers (S,) that ``key`` means of a message of its topic.

    A field is a path of names; of a message within, all numbers are taken in the order of its definition: x, y, z, w of a
    quaternion. Names behind it choose joints, whose order may be another in each message.
    """
    topic, path, names = [*key.split(":"), "", ""][:3]
    value = message
    for name in path.split(".") if path else ():
        if not hasattr(value, name):
            known = [f.name for f in fields(value)] if is_dataclass(value) else []
            raise ConfigurationError(f"{key}: a {_kind(value)} has no field {name!r}. {nearest(name, known)}")
        value = getattr(value, name)
    if not path and hasattr(message, "velocity") and hasattr(message, "effort"):
        raise ConfigurationError(f"{topic} has positions, velocities and efforts of joints: take {topic}:position.")
    found = np.array(_flat(value), np.float64)
    if not names:
        return found
    there = {name: i for i, name in enumerate(message.name)}
    if missing := [name for name in names.split(",") if name not in there]:
        raise DatasetError(f"A message of {topic} has no joint {missing[0]!r}. {nearest(missing[0], there)}")
    return found[[there[name] for name in names.split(",")]]


def picture_of(key: str, message: Any) -> Picture:
    """The picture of an ``Image`` or ``CompressedImage``; :class:`DatasetError` for other kinds and encodings."""
    kind = _kind(message)
    if kind.endswith("/CompressedImage"):
        if "compressedDepth" in message.format:
            raise DatasetError(f"{key} holds depth ({message.format}), and no pictures.")
        return bytes(message.data)
    if not kind.endswith("/Image"):
        raise DatasetError(f"{key} holds messages of {kind}, and pictures are Image or CompressedImage.")
    channels = _CHANNELS.get(message.encoding)
    if channels is None:
        raise DatasetError(f"{key} is encoded as {message.encoding!r}. {nearest(message.encoding, _CHANNELS)}")
    depth = {"mono8": 1, "rgba8": 4, "bgra8": 4}.get(message.encoding, 3)
    rows = np.asarray(message.data, np.uint8).reshape(message.height, message.step)  # rows may be padded
    pixels = rows[:, : message.width * depth].reshape(message.height, message.width, depth)
    return np.ascontiguousarray(pixels[..., list(channels)])


def joint_names(message: Any) -> tuple[str, ...]:
    """The names of joints that a message has; () where it has none."""
    names = getattr(message, "name", ())
    return tuple(names) if isinstance(names, list | tuple) else ()


def _flat(value: Any) -> list[float]:
    if is_dataclass(value):
        members = [f.name for f in fields(value) if not f.name.startswith("__") and f.name not in ("header", "layout")]
        return [number for name in members for number in _flat(getattr(value, name))]
    if isinstance(value, str):
        raise ConfigurationError(f"{value!r} is a text among numbers. Name the field that is meant, as in /topic:field.")
    if isinstance(value, list | tuple):
        return [number for member in value for number in _flat(member)]
    return np.asarray(value, np.float64).reshape(-1).tolist()


def _kind(message: Any) -> str:
    return str(getattr(message, "__msgtype__", type(message).__name__))
