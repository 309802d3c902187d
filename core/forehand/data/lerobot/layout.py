"""Layout of a LeRobotDataset: which of its files hold what. Each format of LeRobot has one."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from forehand.data.reading import Rows
from forehand.errors import DatasetError

SPANS = ("episode_index", "length", "dataset_from_index", "dataset_to_index")
VIDEO_SPANS = ("chunk_index", "file_index", "from_timestamp")

_PARQUET_MAGIC = b"PAR1"


class Layout(ABC):
    """Files of the LeRobotDataset at ``root`` with the metadata ``info`` (``meta/info.json``), whatever its format.

    tasks_file: the name of the file that lists its sentences.
    """

    tasks_file: str

    def __init__(self, root: Path, info: Mapping[str, Any]) -> None:
        self.root, self.info = root, info

    @abstractmethod
    def check(self) -> None:
        """Raise :class:`DatasetError` where files are missing, or were never finished."""

    @abstractmethod
    def episodes(self, columns: Iterable[str], optional: Iterable[str] = ()) -> Rows:
        """Columns of the table of episodes, those ``optional`` where it has them; raises :class:`DatasetError`."""

    @abstractmethod
    def episode_columns(self) -> Mapping[str, pa.DataType]:
        """The columns of the table of episodes; raises :class:`DatasetError`."""

    @abstractmethod
    def tasks(self) -> dict[int, str]:
        """The sentences by their ``task_index``, in its order; raises :class:`DatasetError`."""

    @abstractmethod
    def image_statistics(self, key: str) -> Mapping[str, Any]:
        """``mean``, ``std``, ``min``, ``max`` and ``count`` of the feature ``key``, images or numbers, as stated.

        Raises :class:`DatasetError`, KeyError, TypeError or ValueError where they are not.
        """

    @property
    @abstractmethod
    def statistics_file(self) -> Path:
        """The file that states statistics."""

    @property
    @abstractmethod
    def video_template(self) -> str:
        """The path of a video, with the placeholders ``video_key``, ``chunk_index`` and ``file_index``."""

    @property
    def video_keys(self) -> list[str]:
        """The features that are videos."""
        return [key for key, feature in self.info["features"].items() if feature["dtype"] == "video"]

    def spans(self) -> Rows:
        """The columns :data:`SPANS` of the table of episodes, and :data:`VIDEO_SPANS` of each video feature."""
        return self.episodes(SPANS, [f"videos/{key}/{name}" for key in self.video_keys for name in VIDEO_SPANS])

    def no_video(self, key: str) -> DatasetError:
        """The error about a feature without any video."""
        return DatasetError(
            f"The dataset at {self.root} has no video of {key!r} in videos/. Fetch or copy it again, whole."
        )

    def require_whole(self, folder: str, files: Iterable[Path]) -> None:
        """Raise :class:`DatasetError` where a table lacks its footer, or ``folder`` has none."""
        files = list(files)
        broken = [file for file in files if not _is_whole(file)]
        if files and not broken:
            return
        which = f"{broken[0].relative_to(self.root)} has no footer" if broken else f"there is no table in {folder}/"
        raise DatasetError(
            f"The dataset at {self.root} was never finalized: {which}. Either it was fetched or copied in part: do that "
            f"again. Or its recorder died before LeRobot's finalize(), and those episodes cannot be read by anyone: "
            f"record them again. forehand record keeps every finished episode."
        )


def named_tasks(path: Path, numbers: Iterable[Any], words: Iterable[Any]) -> dict[int, str]:
    """The sentences of the file at ``path`` by their number, in its order; raises :class:`DatasetError`."""
    tasks: dict[int, str] = {}
    for number, task in zip(numbers, words, strict=True):
        if not isinstance(number, int) or not isinstance(task, str) or number in tasks:
            raise DatasetError(f"{path} has no single sentence for the task_index {number!r}. Correct it.")
        tasks[number] = task
    return dict(sorted(tasks.items()))


def _is_whole(file: Path) -> bool:
    if file.stat().st_size < 12:
        return False
    with file.open("rb") as opened:
        opened.seek(-len(_PARQUET_MAGIC), os.SEEK_END)
        return opened.read() == _PARQUET_MAGIC
