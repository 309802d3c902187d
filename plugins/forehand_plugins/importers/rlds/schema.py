"""Schema of an RLDS dataset: the features that ``features.json`` states, and the shards of ``dataset_info.json``."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from forehand.data.importing.source_files import natural, readable, source_path
from forehand.errors import ConfigurationError, DatasetError, nearest
from forehand.utils.reading import read_json
from forehand_plugins.importers.rlds.records import Values

FEATURES, INFO = "features.json", "dataset_info.json"
STEPS = "steps"
TFRECORD, ARRAY_RECORD = "tfrecord", "array_record"


@dataclass(frozen=True)
class Feature:
    """One feature. kind: ``image``, ``text`` or ``tensor``; shape: of one step, None for a length that varies."""

    key: str
    kind: str
    shape: tuple[int | None, ...]
    dtype: str
    encoded: bool = False

    @property
    def size(self) -> int:
        """How many numbers it has; raises :class:`DatasetError` where that varies, or where they are encoded."""
        known = [n for n in self.shape if n is not None]
        if self.kind != "tensor" or self.encoded or len(known) < len(self.shape):
            raise DatasetError(f"The feature {self.key!r} is {self.words}, and not a vector of numbers.")
        return math.prod(known)

    @property
    def words(self) -> str:
        """Its kind, type and shape, for messages."""
        return f"{self.kind} of {self.dtype} {tuple('?' if n is None else n for n in self.shape)}".replace("'", "")


@dataclass(frozen=True)
class Shard:
    """One file of ``split``, with as many episodes as the dataset states, None where it does not."""

    split: str
    path: Path
    episodes: int | None


class Schema:
    """The schema of the dataset in the folder ``root``, that of one version such as ``droid_100/1.0.0``."""

    def __init__(self, root: Path) -> None:
        self.root = root
        info = _read(root / INFO)
        self.name, self.version = str(info.get("name", root.parent.name)), str(info.get("version", root.name))
        self.file_format = str(info.get("fileFormat", TFRECORD))
        if self.file_format not in (TFRECORD, ARRAY_RECORD):
            raise DatasetError(f"{root / INFO} says {self.file_format}; files of {TFRECORD} and {ARRAY_RECORD} are read.")
        self._splits = {str(split["name"]): split for split in info.get("splits", ())}
        self.features = {feature.key: feature for feature in _leaves("", _read(root / FEATURES), False)}

    def feature(self, key: str) -> Feature:
        """The feature ``key``, within a step where it is not found by its whole path."""
        for whole in (f"{STEPS}/{key}", key):
            if whole in self.features:
                return self.features[whole]
        known = [name.removeprefix(f"{STEPS}/") for name in self.features]
        raise ConfigurationError(f"{self.name} has no feature {key!r}. {nearest(key, known)}")

    def listing(self) -> str:
        """All features in words, for a message."""
        return "; ".join(f"{key.removeprefix(STEPS + '/')} ({f.words})" for key, f in self.features.items())

    def splits(self) -> list[str]:
        """The names of all splits."""
        return list(self._splits)

    def shards(self, splits: Sequence[str] | None) -> list[Shard]:
        """The files of ``splits``, of all where there are None; those that ``dataset_info.json`` names may be missing."""
        found = []
        for name in self._splits if splits is None else splits:
            if name not in self._splits:
                raise ConfigurationError(f"{self.name} has no split {name!r}. {nearest(name, self._splits)}")
            lengths = [int(n) for n in self._splits[name].get("shardLengths", ())]
            template = self._splits[name].get("filepathTemplate") or "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}"
            for i, length in enumerate(lengths):
                path = self.root / _file_name(template, self.name, name, self.file_format, i, len(lengths))
                found.append(Shard(name, path, length))
            if not lengths:
                paths = sorted(self.root.glob(f"*-{name}.{self.file_format}*"), key=lambda p: natural(p.name))
                found += [Shard(name, path, None) for path in paths]
        if not found:
            raise DatasetError(f"{self.root} has no files of {self.file_format}.")
        return found

    def numbers(self, values: Values, key: str, steps: int) -> NDArray[Any]:
        """The feature ``key`` of an episode (T, size); of one outside the steps, its one value."""
        feature = self.feature(key)
        found = _present(values, feature)
        if not isinstance(found, np.ndarray):
            raise DatasetError(f"The feature {key!r} is {feature.words}, and not numbers.")
        inside = feature.key.startswith(f"{STEPS}/")
        wanted = feature.size * (steps if inside else 1)
        if found.size != wanted:
            raise DatasetError(f"{feature.key} has {found.size} numbers for {steps} steps, and not {wanted}.")
        return found.reshape(-1, feature.size)

    def pictures(self, values: Values, key: str, steps: int) -> list[bytes]:
        """The encoded pictures of an episode, T of them."""
        feature = self.feature(key)
        found = _present(values, feature)
        if feature.kind != "image" or isinstance(found, np.ndarray) or len(found) != steps:
            raise DatasetError(f"{feature.key} is {feature.words} with {len(found)} values, for {steps} pictures.")
        return list(found)

    def words(self, values: Values, key: str) -> list[str]:
        """The words of each step, or of the episode. Text that is stored as codes of its letters is decoded."""
        feature = self.feature(key)
        found = _present(values, feature)
        if isinstance(found, np.ndarray):
            if not np.issubdtype(np.dtype(feature.dtype), np.integer):
                raise DatasetError(f"The feature {key!r} is {feature.words}, and not text.")
            found = [bytes(row[row > 0].astype(np.uint8)) for row in found.reshape(-1, feature.size)]
        try:
            return [value.decode().strip() for value in found]
        except UnicodeDecodeError as error:
            raise DatasetError(f"{feature.key} holds text that is not UTF-8 ({error}).") from error

    def length(self, values: Values) -> int:
        """How many steps an episode has, by the first of its features of fixed size."""
        for key, feature in self.features.items():
            if not key.startswith(f"{STEPS}/") or key not in values or None in feature.shape or feature.encoded:
                continue
            count = len(values[key])
            return count if not isinstance(values[key], np.ndarray) else count // max(feature.size, 1)
        raise DatasetError("A record has no steps.")


def version_folder(source: str) -> Path:
    """The folder of one version at ``source`` or below it; raises :class:`DatasetError` for none, and for several."""
    path = source_path(source)
    found = sorted(file.parent for file in path.rglob(FEATURES) if (file.parent / INFO).is_file())
    if len(found) > 1:
        raise DatasetError(
            f"{path.absolute()} holds several datasets or versions. Import one at a time: "
            + ", ".join(f"source={folder}" for folder in found[:5])
        )
    if not found:
        raise DatasetError(f"There is no {FEATURES} with a {INFO} in {path.absolute()} or below it. Correct source=….")
    return found[0]


def _leaves(prefix: str, node: Any, nested: bool) -> list[Feature]:
    """The features below a node of ``features.json``; of lists within a step, none has a fixed size."""
    if "featuresDict" in node:
        children = node["featuresDict"].get("features", {})
        return [leaf for k, v in children.items() for leaf in _leaves(f"{prefix}/{k}" if prefix else k, v, nested)]
    if "sequence" in node:
        inner = node["sequence"].get("feature", {})
        if prefix == STEPS:
            return _leaves(prefix, inner, nested)
        return [Feature(f.key, f.kind, (None, *f.shape), f.dtype, f.encoded) for f in _leaves(prefix, inner, True)]
    for kind in ("image", "text", "tensor"):
        if kind in node or str(node.get("pythonClassName", "")).lower().endswith(f".{kind}"):
            about = node.get(kind) or {}
            shape = tuple(None if int(n) < 0 else int(n) for n in (about.get("shape") or {}).get("dimensions", ()))
            encoded = about.get("encoding", "none") not in ("none", "ENCODING_UNSPECIFIED", "")
            return [Feature(prefix, kind, shape, str(about.get("dtype", "string")), encoded or nested)]
    return [Feature(prefix, str(node.get("pythonClassName", "unknown")).rpartition(".")[2], (), "unknown", True)]


def _present(values: Values, feature: Feature) -> Any:
    if feature.key not in values:
        raise DatasetError(f"A record has no {feature.key!r}.")
    return values[feature.key]


def _file_name(template: str, dataset: str, split: str, file_format: str, number: int, count: int) -> str:
    """The name of a file by TensorFlow Datasets' template."""
    place = f"{number:05d}-of-{count:05d}"
    parts = {
        "{DATASET}": dataset,
        "{SPLIT}": split,
        "{FILEFORMAT}": file_format,
        "{SHARD_X_OF_Y}": place,
        "{SHARD_INDEX}": f"{number:05d}",
        "{NUM_SHARDS}": f"{count:05d}",
    }
    for mark, words in parts.items():
        template = template.replace(mark, words)
    return template


def _read(path: Path) -> Mapping[str, Any]:
    with readable(path):
        found = read_json(path)
    if not isinstance(found, dict):
        raise DatasetError(f"{path} is no mapping.")
    return found
