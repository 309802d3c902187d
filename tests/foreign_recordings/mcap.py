"""ROS bags in MCAP and in rosbag2's folders: a camera, joints, a pose, commands, and marks, each at times of its own."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tests.foreign_recordings.pictures import scene
from tests.foreign_recordings.rlds import encoded

START = 1_700_000_000
JOINTS = ("a", "b")
Messages = list[tuple[float, str, Any]]
"""Log time in s after the start, topic, message."""


def store() -> Any:
    from rosbags.typesys import Stores, get_typestore

    return get_typestore(Stores.ROS2_HUMBLE)


def types() -> dict[str, Any]:
    return store().types


def nanoseconds(time: float) -> int:
    return START * 10**9 + round(time * 1e9)


def header(time: float) -> Any:
    known = types()
    seconds, rest = divmod(nanoseconds(time), 10**9)
    stamp = known["builtin_interfaces/msg/Time"](seconds, rest)
    return known["std_msgs/msg/Header"](stamp, "base")


def picture(time: float, level: int) -> Any:
    data = np.frombuffer(encoded(scene(64, level)), np.uint8)
    return types()["sensor_msgs/msg/CompressedImage"](header(time), "jpeg", data)


def raw_picture(time: float, level: int, padding: int = 8) -> Any:
    """``bgr8`` with padded rows."""
    rows = scene(64, level)[..., ::-1].reshape(64, -1)
    data = np.concatenate([rows, np.full((64, padding), 255, np.uint8)], axis=1)
    return types()["sensor_msgs/msg/Image"](header(time), 64, 64, "bgr8", 0, data.shape[1], data.reshape(-1))


def joints(time: float, position: Sequence[float], names: Sequence[str] = JOINTS) -> Any:
    zero = np.zeros(len(names))
    return types()["sensor_msgs/msg/JointState"](header(time), list(names), np.array(position, float), zero, zero)


def pose(time: float, numbers: Sequence[float]) -> Any:
    known, n = types(), [float(number) for number in numbers]
    inside = known["geometry_msgs/msg/Pose"](
        known["geometry_msgs/msg/Point"](*n[:3]), known["geometry_msgs/msg/Quaternion"](*n[3:])
    )
    return known["geometry_msgs/msg/PoseStamped"](header(time), inside)


def text(words: str) -> Any:
    return types()["std_msgs/msg/String"](words)


def recording(seconds: float = 1.0, first: float = 0.0, raw: bool = False) -> Messages:
    """A camera at 10 Hz, joints at 50 Hz, and commands at 20 Hz that are 100 higher than the time in units of 0.01 s."""
    found: Messages = []
    for i in range(round(10 * seconds) + 1):
        time = first + i / 10
        found.append((time, "/camera", raw_picture(time, i) if raw else picture(time, i)))
    for i in range(round(50 * seconds) + 1):
        time = first + i / 50
        found.append((time, "/joints", joints(time, [time, -time])))
    for i in range(round(20 * seconds) + 1):
        time = first + i / 20
        found.append((time, "/command", pose(time, [100 + 100 * time, 0, 0, 0, 0, 0, 1])))
    return sorted(found, key=lambda message: message[0])


def write_bag(path: Path, messages: Iterable[tuple[float, str, Any]], mcap: bool = True) -> Path:
    """A folder of rosbag2 with one file; returns the file where it is MCAP, else the folder."""
    from rosbags.rosbag2 import StoragePlugin, Writer

    known, connections = store(), {}
    path.parent.mkdir(parents=True, exist_ok=True)
    plugin = StoragePlugin.MCAP if mcap else StoragePlugin.SQLITE3
    with Writer(path, version=9, storage_plugin=plugin) as writer:
        for time, topic, message in messages:
            kind = message.__msgtype__
            if topic not in connections:
                connections[topic] = writer.add_connection(topic, kind, typestore=known)
            writer.write(connections[topic], nanoseconds(time), known.serialize_cdr(message, kind))
    if not mcap:
        return path
    (file,) = path.glob("*.mcap")
    alone = path.with_suffix(".mcap")
    file.rename(alone)
    (path / "metadata.yaml").unlink()
    path.rmdir()
    return alone
