"""zarr store: arrays of all episodes one after the other, and where each episode ends."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from forehand.data.importing.source_files import natural, readable, source_path
from forehand.errors import ConfigurationError, DatasetError, nearest


class EpisodeStore:
    """The store at ``source``, a folder or a zip file, of zarr's format 2 or 3.

    data: the group with the arrays. ends: the array with the end of each episode, excluded. fill: whether chunks that
    are not in the store are taken as the value that zarr fills in; otherwise they are an error, since an incomplete copy
    looks the same.
    """

    def __init__(self, source: str, data: str = "data", ends: str = "meta/episode_ends", fill: bool = False) -> None:
        self.path, self._data, self._fill = source_path(source), data, fill
        self._zip = _opened_zip(self.path)
        with self._reading():
            import zarr

            try:
                root: Any = zarr.open_group(self._zip or str(self.path), mode="r")
                self._arrays = dict(root[data].arrays())
                stated = np.asarray(root[ends][:])
            except (FileNotFoundError, KeyError) as error:
                raise DatasetError(f"{self.path} is no zarr store with {data!r} and {ends!r} ({error}).") from error
        if stated.dtype.kind not in "iu":
            raise DatasetError(
                f"{self.path}: {ends} holds {stated.dtype}, and the rows at which episodes end are whole numbers. "
                f"Write it as int64."
            )
        self.ends = stated.astype(np.int64)
        if not len(self.ends) or (np.diff(self.ends, prepend=0) <= 0).any():
            raise DatasetError(f"{self.path}: {ends} does not increase from episode to episode.")

    def array(self, key: str) -> Any:
        """An array; raises :class:`ConfigurationError` where there is none, :class:`DatasetError` where it is short."""
        if key not in self._arrays:
            raise ConfigurationError(f"{self.path} has no array {key!r}. {nearest(key, self._arrays)}")
        array = self._arrays[key]
        if array.shape[0] < self.ends[-1]:
            raise DatasetError(f"{self.path}: {key} has {array.shape[0]} rows, and the episodes end at {self.ends[-1]}.")
        return array

    def listing(self) -> str:
        """All arrays in words, for a message."""
        return "; ".join(f"{key} ({array.dtype} {array.shape})" for key, array in sorted(self._arrays.items()))

    def behind(self, keys: list[str]) -> int:
        """The most rows of any of the arrays that belong to no episode."""
        return max(int(self.array(key).shape[0] - self.ends[-1]) for key in keys)

    def numbers(self, key: str, first: int, end: int) -> NDArray[Any]:
        """The rows of an array from ``first`` to before ``end``."""
        with self._reading(key):
            return np.asarray(self.array(key)[first:end])

    def rows(self, key: str, first: int, end: int) -> Iterator[NDArray[Any]]:
        """The same rows, one after the other, read chunk by chunk."""
        step = self.array(key).chunks[0]
        for begin in range(first - first % step, end, step):
            yield from self.numbers(key, max(begin, first), min(begin + step, end))

    def files(self) -> list[Path]:
        """The zip file, or the files of zarr's metadata."""
        if self.path.is_file():
            return [self.path]
        names = {".zarray", ".zgroup", ".zattrs", ".zmetadata", "zarr.json"}
        found = [p for p in self.path.rglob("*") if p.name in names]
        return sorted(found, key=lambda p: natural(p.relative_to(self.path).as_posix()))

    def close(self) -> None:
        """Close the zip file."""
        if self._zip is not None:
            self._zip.close()

    @contextmanager
    def _reading(self, key: str = "") -> Iterator[None]:
        """Raise :class:`DatasetError` naming the array where it is damaged or a codec is missing within the context."""
        try:
            import zarr
            from zarr.errors import ChunkNotFoundError, UnknownCodecError
        except ImportError as error:
            raise _missing_library(error) from error
        place = self.path / self._data / key if key else self.path
        try:
            with readable(place), zarr.config.set({"array.read_missing_chunks": self._fill}):
                try:
                    yield
                except ChunkNotFoundError as error:
                    raise DatasetError(
                        f"{place}: {str(error).splitlines()[0]} An incomplete copy looks so, and so does an array that "
                        f"is all zero there. Copy it again, or give missing_chunks=fill."
                    ) from error
                except UnknownCodecError as error:
                    raise ConfigurationError(
                        f"{place} needs a codec that is not installed ({str(error).partition('.')[0]}). Those of "
                        f"pictures come with pip install 'forehand[umi]'."
                    ) from error
        except RuntimeError as error:  # codecs of imagecodecs
            raise DatasetError(f"{place} cannot be read ({error}). Fetch or copy it again, whole.") from error


def register_picture_codecs() -> None:
    """Make the codecs of imagecodecs known to zarr, JPEG XL among them, where it is installed."""
    try:
        from imagecodecs.numcodecs import register_codecs
    except ImportError:
        return
    register_codecs(verbose=False)


def _opened_zip(path: Path) -> Any:
    if not path.is_file():
        return None
    try:
        from zarr.storage import ZipStore
    except ImportError as error:
        raise _missing_library(error) from error
    with readable(path):
        if not zipfile.is_zipfile(path):
            raise DatasetError(f"{path} is no folder and no zip file. Correct source=….")
        return ZipStore(path, mode="r")


def _missing_library(error: ImportError) -> ConfigurationError:
    return ConfigurationError(f"zarr stores need {error.name}, which is not installed: pip install 'forehand[zarr]'.")
