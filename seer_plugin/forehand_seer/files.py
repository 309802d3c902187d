"""Weights out of other projects' files: tensors only, and nothing that is pickled beside them is ever executed."""

from __future__ import annotations

import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from forehand.errors import CheckpointError
from forehand.weights import damaged, read_tensors

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


def read_weights(path: Path, under: str = "") -> dict[str, Tensor]:
    """The tensors of a file by dotted name, on the CPU: those whose names begin with ``under``, and without it.

    Reads ``.safetensors``, and what ``torch.save`` or TorchScript's ``save`` wrote: dictionaries within it are joined
    by dots, so that ``under="model."`` gives what a dictionary ``model`` holds. Raises :class:`CheckpointError`.
    """
    if not path.is_file():
        raise CheckpointError(f"there is no file {path.resolve()}.")
    if path.suffix == ".safetensors":
        found: dict[str, Any] = dict(read_tensors(path))
    else:
        found = dict(_flatten(_read_archive(path) if zipfile.is_zipfile(path) else _read_legacy(path)))
    try:
        return {
            name.removeprefix(under): tensor.read() if isinstance(tensor, _Stored) else tensor
            for name, tensor in found.items()
            if name.startswith(under)
        }
    except (KeyError, RuntimeError, ValueError, zipfile.BadZipFile) as error:
        raise damaged(path, error) from error


@dataclass(frozen=True)
class _Storage:
    """Numbers in a record of an archive."""

    archive: zipfile.ZipFile
    record: str
    dtype: torch.dtype


@dataclass(frozen=True)
class _Stored:
    """A tensor that is read when it is asked for."""

    storage: _Storage
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]

    def read(self) -> Tensor:
        """The tensor, in memory of its own."""
        if 0 in self.size:
            return torch.empty(self.size, dtype=self.storage.dtype)
        numbers = torch.frombuffer(bytearray(self.storage.archive.read(self.storage.record)), dtype=self.storage.dtype)
        return numbers.as_strided(self.size, self.stride, self.offset).clone()


class _Anything:
    """Stands for an object of whatever class: it takes what it is given, and keeps its state."""

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
    """Finds no class but what makes tensors and dictionaries; bytes are read when a tensor is asked for."""

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
    archive = zipfile.ZipFile(path)
    try:
        (record,) = (name for name in archive.namelist() if name.count("/") == 1 and name.endswith("/data.pkl"))
        return _Unpickler(archive, record).load()
    except Exception as error:  # a damaged pickle may fail in any way
        raise damaged(path, f"it holds no tensors that can be read ({type(error).__name__}: {error})") from error


def _read_legacy(path: Path) -> Any:
    """A file from before torch 1.6."""
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise CheckpointError(
            f"{path} holds something else than tensors, and was not opened further ({error}). Save its weights alone, "
            f"as .safetensors or with torch.save."
        ) from error


def _flatten(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, Tensor | _Stored):
        yield name, value
    elif isinstance(value, _Anything):
        yield from _flatten(value.state, name)
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from _flatten(item, f"{name}.{key}" if name else str(key))
