"""Pictures in the tables of a dataset, as files of PNG or JPEG in a column."""

from __future__ import annotations

import io
import json
import threading
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from PIL import Image

from forehand.data.content_digest import content_digest
from forehand.data.frame_cache import missing_frames
from forehand.data.reading import read_errors, table_files
from forehand.data.source import Pictures
from forehand.errors import DatasetError

_KEPT = 4  # row groups of encoded pictures


class TablePictures(Pictures):
    """Images of one camera in the tables below ``root / "data"``, in the column ``key``; ``rate`` in Hz."""

    def __init__(self, root: Path, key: str, total: int, rate: float) -> None:
        self.root, self.key, self.total, self.rate = root, key, total, rate
        self._groups: tuple[list[tuple[Path, int]], NDArray[np.int64]] | None = None
        self._kept: OrderedDict[int, pa.ChunkedArray] = OrderedDict()
        self._lock = threading.Lock()

    def __getstate__(self) -> tuple[Path, str, int, float]:
        return self.root, self.key, self.total, self.rate

    def __setstate__(self, state: tuple[Path, str, int, float]) -> None:
        self.__init__(*state)  # type: ignore[misc]

    def read(self, numbers: NDArray[np.int64]) -> NDArray[np.uint8]:
        """See :meth:`forehand.data.source.Pictures.read`."""
        with self._lock:
            groups, until = self._groups = self._groups or self._find_groups()
        if numbers.max() >= until[-1]:
            why = f"the first is frame {int(until[-1])}"
            raise missing_frames(self.root, self.key, self.total, self.total - int(until[-1]), why)
        group = np.searchsorted(until, numbers, side="right")
        pixels: list[Any] = [None] * len(numbers)
        for one in np.unique(group):
            column, first = self._column(int(one), *groups[one]), until[one - 1] if one else 0
            for i in np.flatnonzero(group == one):
                stored = column[int(numbers[i] - first)].as_py()
                pixels[i] = _decode(stored, self.key, f"row {numbers[i]} of {self.root}")
        try:
            return np.stack(pixels)
        except ValueError as error:
            sizes = sorted({f"{p.shape[0]} × {p.shape[1]}" for p in pixels})
            raise DatasetError(
                f"The pictures of {self.key!r} in {self.root} are of different sizes: {', '.join(sizes)}. Record them at "
                f"one size."
            ) from error

    def digest(self) -> str:
        """See :meth:`forehand.data.source.Pictures.digest`."""
        about = json.dumps([self.key, self.total, self.rate, {}])
        return content_digest(self.root, table_files(self.root, "data"), about)

    def _find_groups(self) -> tuple[list[tuple[Path, int]], NDArray[np.int64]]:
        """Table and number of each row group, and the number of frames up to the end of each."""
        groups, rows = [], []
        for path in table_files(self.root, "data"):
            with read_errors(path), pq.ParquetFile(path) as file:
                for number in range(file.num_row_groups):
                    groups.append((path, number))
                    rows.append(file.metadata.row_group(number).num_rows)
        return groups, np.cumsum(rows)

    def _column(self, group: int, path: Path, number: int) -> pa.ChunkedArray:
        with self._lock:
            if group not in self._kept:
                with read_errors(path), pq.ParquetFile(path) as file:
                    self._kept[group] = file.read_row_group(number, columns=[self.key])[self.key]
            self._kept.move_to_end(group)
            while len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
            return self._kept[group]


def _decode(stored: Any, key: str, where: str) -> NDArray[np.uint8]:
    try:
        return np.asarray(Image.open(io.BytesIO(stored["bytes"])).convert("RGB"))
    except (TypeError, KeyError, OSError, ValueError, Image.DecompressionBombError) as error:
        raise DatasetError(
            f"The picture of {key!r} in {where} cannot be read ({error}). Fetch or copy the dataset again, whole."
        ) from error
