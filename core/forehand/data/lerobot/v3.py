"""LeRobotDataset of format 3: tables and videos that episodes share."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from forehand.data.features import STATS_FILE, read_mapping
from forehand.data.lerobot.layout import Layout, named_tasks
from forehand.data.reading import Rows, read_table, table_columns, table_files
from forehand.errors import DatasetError

FORMAT = "v3.0"
TASKS_FILE = "meta/tasks.parquet"
EPISODES = "meta/episodes"


class LayoutV3(Layout):
    """``data/chunk-000/file-000.parquet``, ``videos/<key>/chunk-000/file-000.mp4``, and metadata in tables, too."""

    tasks_file = TASKS_FILE

    def check(self) -> None:
        """See :meth:`Layout.check`."""
        data = sorted((self.root / "data").rglob("*.parquet"))
        if not data:  # a recorder writes frames first: without any, they were there and are not any more
            raise DatasetError(f"The dataset at {self.root} has no table in data/. Fetch or copy it again, whole.")
        self.require_whole("data", data)
        self.require_whole(EPISODES, sorted((self.root / EPISODES).rglob("*.parquet")))
        for key in self.video_keys:
            if not any((self.root / "videos" / key).rglob("*.mp4")):
                raise self.no_video(key)

    def episodes(self, columns: Iterable[str], optional: Iterable[str] = ()) -> Rows:
        """See :meth:`Layout.episodes`."""
        return Rows(self.root, EPISODES, list(columns), list(optional))

    def episode_columns(self) -> Mapping[str, pa.DataType]:
        """See :meth:`Layout.episode_columns`."""
        return table_columns(table_files(self.root, EPISODES)[0])

    def tasks(self) -> dict[int, str]:
        """See :meth:`Layout.tasks`."""
        path = self.root / TASKS_FILE
        table = read_table(path)
        names = [c for c in table.column_names if c != "task_index"]  # the index of a data frame, named or not
        if "task_index" not in table.column_names or not names:
            raise DatasetError(f"{path} has the columns {table.column_names}; it needs task_index and task.")
        words = table["task" if "task" in names else names[0]].to_pylist()
        return named_tasks(path, table["task_index"].to_pylist(), words)

    def image_statistics(self, key: str) -> Mapping[str, Any]:
        """See :meth:`Layout.image_statistics`."""
        found: Mapping[str, Any] = read_mapping(self.statistics_file)[key]
        return found

    @property
    def statistics_file(self) -> Path:
        """See :attr:`Layout.statistics_file`."""
        return self.root / STATS_FILE

    @property
    def video_template(self) -> str:
        """See :attr:`Layout.video_template`."""
        return str(self.info.get("video_path"))
