"""Bag: one recording of ROS messages, an MCAP file, a folder or file of rosbag2, or a file of ROS 1."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from forehand.data.importing.source_files import natural, readable, source_path
from forehand.errors import ConfigurationError, DatasetError, nearest

SUFFIXES = (".mcap", ".db3", ".bag")
METADATA = "metadata.yaml"


def find_bags(source: str) -> tuple[Path, list[Path]]:
    """The folder of a source, and its bags by their names: files, and folders with rosbag2's ``metadata.yaml``."""
    path = source_path(source)
    if path.is_file() or (path / METADATA).is_file():
        return path.parent, [path]
    folders = {file.parent for file in path.rglob(METADATA)}
    files = {p for p in path.rglob("*") if p.suffix in SUFFIXES and not folders.intersection(p.parents)}
    if not (found := [*folders, *files]):
        raise DatasetError(f"There is no {', '.join(SUFFIXES)} file in {path.absolute()} or below it. Correct source=….")
    return path, sorted(found, key=lambda p: natural(p.relative_to(path).as_posix()))


class Bag:
    """An open bag."""

    def __init__(self, path: Path, reader: Any) -> None:
        self.path, self._reader = path, reader
        self.types = {connection.topic: str(connection.msgtype) for connection in reader.connections}

    def require(self, topics: Collection[str]) -> None:
        """Raise :class:`DatasetError` that names the nearest topic for one that is not there."""
        for topic in topics:
            if topic not in self.types:
                raise DatasetError(f"{self.path} has no topic {topic!r}. {nearest(topic, self.types)}")

    def listing(self) -> str:
        """All topics in words, for a message."""
        return "; ".join(f"{topic} ({kind})" for topic, kind in sorted(self.types.items()))

    def messages(self, topics: Collection[str], start: int | None = None) -> Iterator[tuple[str, int, Any]]:
        """Topic, log time in ns, and a function that decodes the message, in the order of log times."""
        self.require(topics)
        connections = [c for c in self._reader.connections if c.topic in topics]
        for connection, time, raw in self._reader.messages(connections, start=start):
            yield connection.topic, time, lambda raw=raw, kind=connection.msgtype: self._reader.deserialize(raw, kind)

    def stamps(self, topics: Collection[str], header: bool) -> dict[str, tuple[NDArray[np.int64], NDArray[np.int64]]]:
        """Topic → the times of its messages in ns, and their log times. header: times are those in their headers."""
        found: dict[str, tuple[list[int], list[int]]] = {topic: ([], []) for topic in topics}
        for topic, time, decode in self.messages(topics):
            found[topic][0].append(header_time(self.path, topic, decode()) if header else time)
            found[topic][1].append(time)
        return {topic: (np.array(a, np.int64), np.array(b, np.int64)) for topic, (a, b) in found.items()}

    def first(self, topics: Collection[str]) -> Mapping[str, Any]:
        """Topic → its first message."""
        found: dict[str, Any] = {}
        for topic, _, decode in self.messages(topics):
            if topic not in found:
                found[topic] = decode()
            if len(found) == len(set(topics)):
                return found
        missing = min(set(topics) - set(found))
        raise DatasetError(f"{self.path} has no message of {missing}.")


def header_time(path: Path, topic: str, message: Any) -> int:
    """The time in a message's header, in ns; raises :class:`DatasetError` where it has none."""
    header = getattr(message, "header", None)
    if header is None:
        raise DatasetError(f"{path}: messages of {topic} have no header. Give clock=log.")
    return int(header.stamp.sec) * 10**9 + int(header.stamp.nanosec)


@contextmanager
def opened_bag(path: Path, definitions: str | None) -> Iterator[Bag]:
    """The bag at ``path``. definitions: the release whose message types are meant where the bag has none, as ``humble``.

    Raises :class:`DatasetError` naming it where it is damaged or cannot be decoded within the context.
    """
    try:
        from rosbags.highlevel import AnyReader, AnyReaderError
        from rosbags.rosbag1 import ReaderError as Reader1Error
        from rosbags.rosbag2 import ReaderError as Reader2Error
        from rosbags.typesys import Stores, TypesysError, get_typestore
    except ImportError as error:
        raise ConfigurationError(
            f"Bags need {error.name}, which is not installed: pip install 'forehand[mcap]'."
        ) from error
    releases = {store.value.partition("_")[2]: store for store in Stores if "_" in store.value}
    if definitions is not None and definitions not in releases:
        raise ConfigurationError(f"definitions={definitions} is no release. {nearest(definitions, releases)}")
    types = get_typestore(releases[definitions]) if definitions else None
    try:
        with readable(path), AnyReader([path], default_typestore=types) as reader:
            yield Bag(path, reader)
    except (AnyReaderError, Reader1Error, Reader2Error, TypesysError, AssertionError) as error:
        hint = "" if definitions else " A bag without message definitions needs definitions=humble, or its release."
        raise DatasetError(f"{path} cannot be read ({error}). Fetch or copy it again, whole.{hint}") from error
