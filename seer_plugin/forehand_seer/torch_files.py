"""Loading of other projects' weight files: tensors only, no pickled code is executed."""

from __future__ import annotations

import itertools
import math
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from forehand.errors import CheckpointError
from forehand.learning.weights import corrupt_file, read_tensors

_DTYPES: Mapping[str, torch.dtype] = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}


PICKLE_BYTES = 64 * 2**20
"""Of the description of an archive's tensors, which are stored beside it."""

SHARED = 16
"""How many tensors may be the same bytes of a file, on average."""

VALUES, DEPTH = 1_000_000, 32
"""How many values a file may hold, and how deep dictionaries may lie in each other."""


def read_weights(path: Path, under: str = "") -> dict[str, Tensor]:
    """The tensors of a file by dotted name, on the CPU: those under the prefix ``under``, which is removed.

    Reads ``.safetensors``, and what ``torch.save`` or TorchScript's ``save`` wrote: dictionaries within it are joined
    by dots, so that ``under="model."`` gives what a dictionary ``model`` holds. Raises :class:`CheckpointError`, also
    where a file holds more than its size allows.
    """
    if not path.is_file():
        raise CheckpointError(f"there is no file {path.resolve()}.")
    if path.suffix == ".safetensors":
        found: dict[str, Any] = dict(read_tensors(path))
    else:
        try:
            found = dict(_flatten(_read(path)))
        except ValueError as error:
            raise corrupt_file(path, error) from error
    return _load(path, {name.removeprefix(under): t for name, t in found.items() if name.startswith(under)})


def read_values(path: Path, keys: Sequence[str]) -> dict[str, Any]:
    """What a file that ``torch.save`` wrote holds under ``keys``: dictionaries, lists, numbers, text and tensors.

    Anything else in them is None; keys that the file lacks are left out. Limits and errors are those of
    :func:`read_weights`.
    """
    content = _read(path)
    if not isinstance(content, Mapping):
        return {}
    values, looked_at = {key: content[key] for key in keys if key in content}, itertools.count(1)
    tensors: dict[str, Any] = {}

    def plain(value: Any, depth: int) -> Any:
        if next(looked_at) > VALUES or depth > DEPTH:
            raise ValueError(f"it holds more than {VALUES} values, or more than {DEPTH} dictionaries in each other")
        if isinstance(value, Mapping):
            return {key: plain(item, depth + 1) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [plain(item, depth + 1) for item in value]
        if isinstance(value, Tensor | _Stored):
            tensors[str(len(tensors))] = value
            return _Numbered(str(len(tensors) - 1))
        return value if isinstance(value, bool | int | float | str) else None

    def filled(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: filled(item) for key, item in value.items()}
        if isinstance(value, list):
            return [filled(item) for item in value]
        return loaded[value.key] if isinstance(value, _Numbered) else value

    try:
        values = plain(values, 0)
    except ValueError as error:
        raise corrupt_file(path, error) from error
    loaded = _load(path, tensors)
    found: dict[str, Any] = filled(values)
    return found


@dataclass(frozen=True)
class _Numbered:
    """The place of a tensor that is loaded later."""

    key: str


def _read(path: Path) -> Any:
    if not path.is_file():
        raise CheckpointError(f"there is no file {path.resolve()}.")
    return _read_archive(path) if zipfile.is_zipfile(path) else _read_legacy(path)


def _load(path: Path, tensors: Mapping[str, Any]) -> dict[str, Tensor]:
    """The tensors, read where they are not yet, unless they are more than the file's size allows."""
    numbers = sum(math.prod(tensor.size) for tensor in tensors.values() if isinstance(tensor, _Stored))
    if numbers > SHARED * path.stat().st_size:
        raise corrupt_file(path, f"its tensors are of {numbers} numbers in all, which share what little it holds")
    try:
        return {name: tensor.read() if isinstance(tensor, _Stored) else tensor for name, tensor in tensors.items()}
    except (KeyError, RuntimeError, ValueError, zipfile.BadZipFile) as error:
        raise corrupt_file(path, error) from error


@dataclass(frozen=True)
class _Storage:
    """Numbers in a record of an archive."""

    archive: zipfile.ZipFile
    record: str
    dtype: torch.dtype

    def read(self) -> Tensor:
        """All of its numbers."""
        if self.archive.getinfo(self.record).compress_type != zipfile.ZIP_STORED:
            raise ValueError(f"{self.record} is compressed, and may be of any size")
        return torch.frombuffer(bytearray(self.archive.read(self.record)), dtype=self.dtype)


@dataclass(frozen=True)
class _Stored:
    """A tensor that is read on access."""

    storage: _Storage
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]

    def read(self) -> Tensor:
        """The tensor, in memory of its own."""
        if 0 in self.size:
            return torch.empty(self.size, dtype=self.storage.dtype)
        numbers = self.storage.read()
        if math.prod(self.size) > len(numbers):
            raise ValueError(f"a tensor of {self.size} is not in {len(numbers)} stored numbers")
        return numbers.as_strided(self.size, self.stride, self.offset).clone()


class _Anything:
    """Placeholder for an object of any class: it accepts any arguments, and keeps the object's state."""

    state: Any = None

    def __init__(self, *arguments: Any, **options: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def __setitem__(self, key: Any, value: Any) -> None:
        pass

    def append(self, item: Any) -> None:
        """Lists of foreign classes are filled so."""

    def extend(self, items: Any) -> None:
        """Lists of foreign classes are filled so."""


class _Unpickler(pickle.Unpickler):
    """Resolves only the classes that tensors and dictionaries need; a tensor's bytes are read on access."""

    def __init__(self, archive: zipfile.ZipFile, record: str) -> None:
        super().__init__(archive.open(record))
        self._archive, self._folder = archive, record.removesuffix(".pkl")

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _stored
        if (module, name) == ("torch._utils", "_rebuild_parameter"):
            return lambda data, *rest: data
        if module == "torch" and name in _DTYPES:
            return _DTYPES[name]
        return type(name, (_Anything,), {})

    def persistent_load(self, key: Any) -> _Storage:
        _, dtype, number, *_ = key
        return _Storage(self._archive, f"{self._folder}/{number}", dtype)


def _stored(storage: _Storage, offset: int, size: Any, stride: Any, *rest: Any) -> _Stored:
    return _Stored(storage, offset, tuple(size), tuple(stride))


def _read_archive(path: Path) -> Any:
    # Not torch.load(weights_only=True): it refuses TorchScript archives (CLIP) and argparse options.
    archive = zipfile.ZipFile(path)
    try:
        (record,) = (name for name in archive.namelist() if name.count("/") == 1 and name.endswith("/data.pkl"))
        if archive.getinfo(record).file_size > PICKLE_BYTES:
            raise ValueError(f"{record} is larger than {PICKLE_BYTES} bytes")
        return _Unpickler(archive, record).load()
    except Exception as error:  # a damaged pickle may fail in any way
        raise corrupt_file(path, f"it holds no tensors that can be read ({type(error).__name__}: {error})") from error


def _read_legacy(path: Path) -> Any:
    """A file from before torch 1.6."""
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise CheckpointError(
            f"{path} holds something else than tensors, and was not opened further ({error}). Save its weights alone, "
            f"as .safetensors or with torch.save."
        ) from error


def _flatten(value: Any) -> Iterator[tuple[str, Any]]:
    """Every tensor by its dotted name; their number is limited, since dictionaries may be shared or hold themselves."""
    waiting, looked_at = [("", value, 0)], 0
    while waiting:
        name, item, depth = waiting.pop()
        looked_at += 1
        if looked_at > VALUES or depth > DEPTH:
            raise ValueError(f"it holds more than {VALUES} values, or more than {DEPTH} dictionaries in each other")
        if isinstance(item, Tensor | _Stored):
            yield name, item
        elif isinstance(item, _Anything):
            waiting.append((name, item.state, depth + 1))
        elif isinstance(item, Mapping):
            inner = [(f"{name}.{key}" if name else str(key), value, depth + 1) for key, value in item.items()]
            waiting += reversed(inner)
