"""Many small tables as few large ones: all are read once, by several threads, into a scratch file that is mapped."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from forehand.data.frame_cache import cache_folder
from forehand.utils.mapped_pages import give_back
from forehand.utils.progress import progress

_ROWS = 200_000  # of a group
_TOGETHER = 1000  # tables whose metadata is in memory at once


def scratch_file() -> IO[bytes]:
    """An open file without a name, below the folder of decoded frames; it is gone with the last that reads it."""
    folder = cache_folder()
    folder.mkdir(parents=True, exist_ok=True)
    return tempfile.TemporaryFile(dir=folder)


class GatheredTables:
    """The tables of ``lengths`` rows (F,), in groups: the first table of each, and its rows as one record batch."""

    def __init__(self, file: IO[bytes], lengths: NDArray[np.int64], firsts: Sequence[int]) -> None:
        self.lengths, self._firsts = lengths, firsts
        self._map = np.memmap(file, np.uint8, "r")
        self._reader = pa.ipc.open_file(pa.py_buffer(self._map))

    def groups(self, columns: Sequence[str]) -> Iterator[tuple[range, pa.Table]]:
        """The numbers of the tables of each group, and their ``columns``, end to end."""
        for number, (first, end) in enumerate(zip(self._firsts, [*self._firsts[1:], len(self.lengths)], strict=True)):
            batch = self._reader.get_batch(number)
            yield range(first, end), pa.Table.from_batches([batch]).select(list(columns))
            give_back(self._map)


def gather_tables(files: Sequence[Path], schema: pa.Schema) -> GatheredTables | None:
    """The columns ``schema`` of all ``files``; None where some cannot be read as such, which the caller then names."""
    numbers = {str(file): number for number, file in enumerate(files)}
    lengths, firsts = np.zeros(len(files), np.int64), list[int]()
    waiting: list[pa.RecordBatch] = []
    place, count, file = -1, 0, scratch_file()
    try:
        with (
            pa.ipc.new_file(pa.PythonFile(file, "w"), schema) as writer,
            progress("reading tables", len(files), transient=True) as show,
        ):
            for tagged in _scanned(list(numbers), schema):
                batch, number = tagged.record_batch, numbers[tagged.fragment.path]
                if number < place or any(column.null_count for column in batch.columns):
                    return None
                if number != place and count >= _ROWS:
                    writer.write_table(pa.Table.from_batches(waiting).combine_chunks())
                    waiting, count = [], 0
                if not waiting:
                    firsts.append(number)
                    show(number)
                waiting.append(batch)
                lengths[number] += len(batch)
                place, count = number, count + len(batch)
            if waiting:
                writer.write_table(pa.Table.from_batches(waiting).combine_chunks())
    except (OSError, KeyError, pa.ArrowException):
        return None
    file.flush()
    return GatheredTables(file, lengths, [0, *firsts[1:]]) if firsts else None


def _scanned(files: Sequence[str], schema: pa.Schema) -> Iterator[Any]:
    """The rows of all files in their order, each batch with the file that it is from, as TaggedRecordBatch."""
    import pyarrow.dataset as ds  # which loads pandas

    for first in range(0, len(files), _TOGETHER):
        some = ds.dataset(list(files[first : first + _TOGETHER]), schema=schema, format="parquet")
        yield from some.scanner(columns=schema.names).scan_batches()
