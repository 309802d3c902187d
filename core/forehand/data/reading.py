"""Reading a dataset's files, from its folder only, with errors that name the file and the row."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from forehand.data.many_tables import GatheredTables, gather_tables, scratch_file
from forehand.errors import DatasetError
from forehand.utils.progress import progress

_LFS_POINTER = b"version https://git-lfs"
_MAX_POINTER_BYTES = 1024
_MAX_NAMED_ROWS = 3  # rows that an error lists
_KEPT = 256 * 10**6  # bytes of tables that are kept in memory
_MANY, _READERS = 64, 8  # tables that are read by several threads, and how many


def path_inside(root: Path, name: str) -> Path:
    """``root / name``; raises :class:`DatasetError` where that leads out of ``root``.

    Links are followed: they are made on this machine, as by the hub's cache, and not by the dataset's author.
    """
    path = PurePosixPath(name)
    if not path.parts or path.is_absolute() or ".." in path.parts or "\\" in name or "\0" in name:
        raise DatasetError(
            f"The dataset at {root} names a file {name!r}, which is not inside its folder. Correct its meta/info.json."
        )
    return root / path


def is_file_name(name: str) -> bool:
    """Whether a word is a plain name of a file or folder, without a path."""
    return name not in ("", ".", "..") and not set(name) & set("/\\\0")


def fill_template(template: str, **values: Any) -> str:
    """A path template of ``meta/info.json`` with its placeholders filled in; raises :class:`DatasetError` by name."""
    fields = "|".join(name + r"(?::0?\d?d)?" * isinstance(value, int) for name, value in values.items())
    if not re.fullmatch(rf"(?:[^{{}}]|{{(?:{fields})}})*", template):
        raise DatasetError(
            f"The path {template!r} in meta/info.json cannot be filled in. It may have the placeholders "
            f"{', '.join(values)}, numbers with a width such as :03d."
        )
    return template.format(**values)


def refuse_lfs_pointer(path: Path) -> None:
    """Raise :class:`DatasetError` if ``path`` is a Git LFS pointer in place of a file's content."""
    if path.stat().st_size > _MAX_POINTER_BYTES:
        return
    with path.open("rb") as file:
        if file.read(len(_LFS_POINTER)) == _LFS_POINTER:
            raise DatasetError(
                f"{path} is a Git LFS pointer: the content of the file was never fetched. Run git lfs pull in the "
                f"dataset's folder, or download the dataset with: hf download --repo-type dataset <owner/name>"
            )


def refuse_lfs_pointers(root: Path, names: Iterable[str]) -> None:
    """Raise :class:`DatasetError` for the first of the files ``names`` below ``root`` that is a Git LFS pointer."""
    folder = str(root)
    for name in names:
        if os.stat(f"{folder}/{name}").st_size <= _MAX_POINTER_BYTES:  # without a Path, of which there may be too many
            refuse_lfs_pointer(root / name)


def table_files(root: Path, folder: str) -> list[Path]:
    """The tables in a folder of the dataset at ``root``, in the order of their rows."""
    names = [name for name in files_below(root, folder) if name.endswith(".parquet")]
    if not names:
        raise DatasetError(f"The dataset at {root} has no table in {folder}/. Fetch or copy it again, whole.")
    return [root / name for name in sorted(names, key=_numbers_in)]


def files_below(root: Path, folder: str) -> Iterator[str]:
    """The names of all files in ``folder`` and below it, from ``root`` on with slashes, as quickly as may be.

    A format with a file for each episode has hundreds of thousands.
    """
    with suppress(FileNotFoundError, NotADirectoryError, PermissionError), os.scandir(root / folder) as found:
        for entry in found:
            name = f"{folder}/{entry.name}"
            if entry.is_dir(follow_symlinks=False):
                yield from files_below(root, name)
            elif entry.is_file():
                yield name


def _numbers_in(name: str) -> list[str | int]:
    """A key that sorts names by the numbers in them, chunk-1000 behind chunk-999."""
    return [int(part) if i % 2 else part for i, part in enumerate(re.split(r"([0-9]+)", name))]


def read_table(path: Path, columns: Sequence[str] | None = None, optional: Sequence[str] = ()) -> pa.Table:
    """A table, or some of its columns and those ``optional`` ones that it has.

    Raises :class:`DatasetError` where it is damaged or lacks one of ``columns``.
    """
    with read_errors(path), pq.ParquetFile(path) as file:
        if columns is None:
            return file.read()
        wanted = _wanted(path, file.schema_arrow.names, columns, optional)
        return file.read(columns=wanted).select(wanted)


def _read_all(paths: Sequence[Path], columns: Sequence[str]) -> list[pa.Table]:
    """The tables at ``paths``, which may be as many as there are episodes."""
    if len(paths) < _MANY:
        return [read_table(path, columns) for path in paths]
    with ThreadPoolExecutor(_READERS) as pool, progress("reading tables", len(paths), transient=True) as show:
        found = []
        for table in pool.map(lambda path: read_table(path, columns), paths):
            found.append(table)
            show(len(found))
        return found


def _select(path: Path, table: pa.Table, columns: Sequence[str], optional: Sequence[str]) -> pa.Table:
    return table.select(_wanted(path, table.column_names, columns, optional))


def _wanted(path: Path, names: Sequence[str], columns: Sequence[str], optional: Sequence[str]) -> list[str]:
    _require_columns(path, names, columns)
    return [*columns, *(name for name in optional if name in names)]


def _require_columns(path: Path, names: Sequence[str], columns: Sequence[str]) -> None:
    if missing := set(columns) - set(names):
        raise DatasetError(f"{path} lacks the columns {sorted(missing)}. Fetch or copy the dataset again, whole.")


@contextmanager
def read_errors(path: Path) -> Iterator[None]:
    """Raise :class:`DatasetError` naming the table at ``path`` where it cannot be read within the context."""
    try:
        refuse_lfs_pointer(path)
        yield
    except (OSError, pa.ArrowException) as error:
        raise DatasetError(f"{path} cannot be read ({error}). Fetch or copy the dataset again, whole.") from error


def table_columns(path: Path) -> dict[str, pa.DataType]:
    """The columns of a table, by name; raises :class:`DatasetError` where it is damaged."""
    with read_errors(path):
        return {field.name: field.type for field in pq.read_schema(path)}


def to_matrix(column: pa.ChunkedArray | pa.Array) -> NDArray[Any]:
    """A column of numbers, truth values, or arrays of them, as (N, D), row by row; raises :class:`ValueError`."""
    flat = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    while True:
        if flat.null_count:
            raise ValueError(f"{flat.null_count} values are missing")
        if isinstance(flat, pa.ExtensionArray):
            flat = flat.storage
        elif pa.types.is_list(flat.type) or pa.types.is_large_list(flat.type) or pa.types.is_fixed_size_list(flat.type):
            if len(pc.unique(pc.list_value_length(flat))) > 1:
                raise ValueError("the rows are not of the same length")
            flat = flat.flatten()
        else:
            break
    if not (pa.types.is_floating(flat.type) or pa.types.is_integer(flat.type) or pa.types.is_boolean(flat.type)):
        raise ValueError(f"values of type {flat.type} are not numbers")
    values: NDArray[Any] = flat.to_numpy(zero_copy_only=False).reshape(len(column), -1)
    return values


def count_rows(path: Path) -> int:
    """The number of rows of a table."""
    with read_errors(path):
        return int(pq.read_metadata(path).num_rows)


class Rows:
    """Some columns of the tables in one folder of a dataset, N rows end to end, each of which can be named.

    tables: a folder of the dataset, or tables by their file. ``columns`` are required; of ``optional`` ones those of the
    first table are read, which all others must have too.
    """

    def __init__(
        self, root: Path, tables: str | Mapping[Path, pa.Table], columns: Sequence[str], optional: Sequence[str] = ()
    ) -> None:
        self.root = root
        self._files = table_files(root, tables) if isinstance(tables, str) else list(tables)
        self._tables: list[pa.Table] | None = None  # large ones are read again for each column
        self._gathered: GatheredTables | None = None  # or once, where they are many
        if not isinstance(tables, str):
            self._tables = [_select(file, table, columns, optional) for file, table in tables.items()]
            first = self._tables[0]
        else:
            first = read_table(self._files[0], columns, optional)
            if first.nbytes * len(self._files) <= _KEPT:
                self._tables = [first, *_read_all(self._files[1:], first.column_names)]
            elif len(self._files) >= _MANY:
                self._gathered = gather_tables(self._files, first.schema.remove_metadata())
        self.columns: tuple[str, ...] = tuple(first.column_names)
        self._until = np.cumsum(self._lengths())

    def __len__(self) -> int:
        return int(self._until[-1])

    def _lengths(self) -> Sequence[int] | NDArray[np.int64]:
        if self._gathered is not None:
            return self._gathered.lengths
        return [count_rows(file) for file in self._files] if self._tables is None else list(map(len, self._tables))

    def describe_rows(self, *rows: int) -> str:
        """``row 3 of data/chunk-000/file-000.parquet`` (counted from 0): the file of the first, and a few rows there."""
        file = int(np.searchsorted(self._until, rows[0], side="right"))
        first = int(self._until[file - 1]) if file else 0
        here = [row - first for row in rows if first <= row < self._until[file]]
        more = ", …" if len(rows) > len(here[:_MAX_NAMED_ROWS]) else ""
        name = self._files[file].relative_to(self.root)
        return f"row{'s' * (len(here) > 1)} {', '.join(map(str, here[:_MAX_NAMED_ROWS]))}{more} of {name}"

    @property
    def last_file(self) -> str:
        """The last file, by name."""
        return str(self._files[-1].relative_to(self.root))

    def records(self, columns: Sequence[str]) -> Iterator[tuple[Path, list[dict[str, Any]]]]:
        """Each file, and its rows of ``columns`` by name; raises :class:`DatasetError` where they were not read."""
        for file in self._files:
            _require_columns(file, self.columns, columns)
        for file, table in self._read(columns):
            yield file, table.to_pylist()

    @property
    def large(self) -> bool:
        """Whether the tables are too large to be kept, and so what is made of them."""
        return self._tables is None

    def _read(self, columns: Sequence[str]) -> Iterator[tuple[Path, pa.Table]]:
        """Each file with its rows of ``columns``, and with those of the files behind it where they are gathered."""
        if self._tables is not None:
            for file, table in zip(self._files, self._tables, strict=True):
                yield file, table.select(list(columns))
            return
        if self._gathered is not None:
            yield from ((self._files[numbers[0]], table) for numbers, table in self._gathered.groups(columns))
            return
        with progress(f"reading {', '.join(columns)}", len(self._files), transient=True) as show:
            for number, file in enumerate(self._files, 1):
                yield file, read_table(file, columns)
                show(number)

    def matrices(self, column: str) -> Iterator[NDArray[Any]]:
        """One column, file by file, as (n, D); raises :class:`DatasetError` naming the file."""
        size = None
        for file, table in self._read([column]):
            try:
                part = to_matrix(table[column]) if len(table) else None
            except ValueError as error:
                if self._gathered is not None:  # the file that it is about is found by itself
                    self._gathered = None
                    list(self.matrices(column))
                raise DatasetError(f"{column!r} in {file} cannot be read: {error}.") from error
            if part is None:
                continue
            if part.shape[1] != (size := part.shape[1] if size is None else size):
                break
            yield part
        else:
            if size is not None:
                return
        raise DatasetError(f"{column!r} is of different sizes in the tables of {self.root}, or they are empty.")

    def array(self, column: str) -> NDArray[Any]:
        """One column as (N, D); raises :class:`DatasetError` naming the file whose values are no such thing."""
        if self._tables is not None:
            columns = [table[column] for table in self._tables if len(table)]
            if len({values.type for values in columns}) == 1:
                with suppress(ValueError):  # whose file is found below
                    return to_matrix(pa.chunked_array([chunk for values in columns for chunk in values.chunks]))
        return np.concatenate(list(self.matrices(column)))

    def integers(self, column: str) -> NDArray[np.int64]:
        """One column of whole numbers, (N,)."""
        return np.concatenate(list(self.integer_parts(column)))

    def integer_parts(self, column: str) -> Iterator[NDArray[np.int64]]:
        """One column of whole numbers, file by file, (n,)."""
        for values in [self.array(column)] if self._tables is not None else self.matrices(column):
            if values.shape[1] != 1 or not np.issubdtype(values.dtype, np.integer):
                raise DatasetError(f"{column!r} in the tables of {self.root} is not one whole number a row.")
            yield values[:, 0].astype(np.int64)

    def vectors(self, column: str, size: int) -> NDArray[np.float32]:
        """One column of vectors of ``size`` finite numbers, (N, ``size``); arrays are laid out row by row.

        Those of large tables are in a file that has no name, and not in memory.
        """
        if self._tables is not None:
            return self._finite(column, self.array(column), size, 0)
        first, file = 0, scratch_file()
        for part in self.matrices(column):
            file.write(np.ascontiguousarray(self._finite(column, part, size, first)).data)
            first += len(part)
        file.flush()
        return np.memmap(file, np.float32, "r", shape=(first, size))

    def _finite(self, column: str, given: NDArray[Any], size: int, first: int) -> NDArray[np.float32]:
        """Rows from row ``first`` on, checked."""
        with np.errstate(over="ignore"):
            values = given.astype(np.float32)
        if values.shape[1] != size:
            raise DatasetError(
                f"{column!r} has {values.shape[1]} elements in the tables of {self.root}, but {size} by its contract. "
                f"Correct the shape in meta/info.json (or meta/forehand_contract.json)."
            )
        bad = np.flatnonzero(~np.isfinite(values).all(axis=1))
        if len(bad):
            element = int(np.flatnonzero(~np.isfinite(values[bad[0]]))[0])
            raise DatasetError(
                f"{column!r} is not finite in {len(bad)} of {len(values)} rows of the dataset at {self.root}: element "
                f"{element} is {values[bad[0], element]} in {self.describe_rows(*map(int, bad + first))} (counted from "
                f"0). Correct these values, or leave their episodes out (lerobot-edit-dataset)."
            )
        return values

    def words(self, column: str) -> tuple[NDArray[np.int64], tuple[str, ...]]:
        """One column of words: the number of each row's text, (N,), and the texts; a missing one is ""."""
        chunks = [chunk for _, table in self._read([column]) for chunk in table[column].chunks]
        try:
            words = pa.chunked_array(chunks, pa.string()).fill_null("")
        except (TypeError, pa.ArrowException) as error:
            raise DatasetError(f"{column!r} in the tables of {self.root} does not hold words: {error}.") from error
        encoded = words.dictionary_encode().unify_dictionaries().chunks
        if not encoded:
            return np.zeros(0, np.int64), ()
        numbers = np.concatenate([chunk.indices.to_numpy() for chunk in encoded]).astype(np.int64)
        return numbers, tuple(encoded[0].dictionary.to_pylist())
