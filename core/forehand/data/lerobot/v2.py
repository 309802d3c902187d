"""LeRobotDataset of formats 2.0 and 2.1: a table and a video for each episode, and metadata in lines of JSON."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pyarrow as pa

from forehand.data.features import STATS_FILE, read_mapping
from forehand.data.lerobot.layout import Layout, named_tasks
from forehand.data.reading import Rows, files_below, fill_template, path_inside, refuse_lfs_pointer
from forehand.errors import DatasetError
from forehand.utils.reading import read_json_lines

EPISODES_FILE = "meta/episodes.jsonl"
EPISODES_STATS_FILE = "meta/episodes_stats.jsonl"
DATA_TEMPLATE = "data/chunk-{episode_chunk:03d}/episode_{episode_index:06d}.parquet"
VIDEO_TEMPLATE = "videos/chunk-{episode_chunk:03d}/{video_key}/episode_{episode_index:06d}.mp4"
EPISODES_IN_CHUNK = 1000

_AVERAGED = ("mean", "std", "min", "max", "count")


class LayoutV2(Layout):
    """``data/chunk-000/episode_000000.parquet``, ``videos/chunk-000/<key>/episode_000000.mp4``, ``meta/*.jsonl``."""

    tasks_file = "meta/tasks.jsonl"

    def check(self) -> None:
        """See :meth:`Layout.check`."""
        template = str(self.info.get("data_path") or DATA_TEMPLATE)
        there = {name for name in files_below(self.root, "data") if name.endswith(".parquet")}
        due = []
        for episode in range(len(self._lines)):
            name = fill_template(template, episode_chunk=self._chunk(episode), episode_index=episode)
            if name not in there and not path_inside(self.root, name).is_file():
                raise DatasetError(
                    f"The dataset at {self.root} lacks {name}, the table of episode {episode} of "
                    f"{EPISODES_FILE}. Fetch or copy it again, whole."
                )
            due.append(name)
        if strange := sorted(there - {str(PurePosixPath(name)) for name in due}):
            raise DatasetError(
                f"The dataset at {self.root} has {strange[0]}, and {EPISODES_FILE} has no such "
                f"episode. Remove that table if it is not wanted; otherwise fetch or copy the dataset again, whole."
            )
        self.require_whole("data", (self.root / name for name in due))
        for key in self.video_keys:
            if not any(path_inside(self.root, self._video(key, episode)).is_file() for episode in range(len(due))):
                raise self.no_video(key)

    def episodes(self, columns: Iterable[str], optional: Iterable[str] = ()) -> Rows:
        """The table of episodes as format 3 has it, a row for each line; see :meth:`Layout.episodes`."""
        number = np.array([line["episode_index"] for line in self._lines], np.int64)
        length = np.array([line["length"] for line in self._lines], np.int64)
        order, until = np.argsort(number), np.empty_like(length)
        until[order] = np.cumsum(length[order])
        found: dict[str, Any] = {"dataset_from_index": until - length, "dataset_to_index": until}
        for key in self.video_keys:
            found |= {
                f"videos/{key}/chunk_index": number // self._chunk_size,
                f"videos/{key}/file_index": number,
                f"videos/{key}/from_timestamp": np.zeros(len(number)),
            }
        table = pa.table({**self._stated, **found})
        return Rows(self.root, {self.root / EPISODES_FILE: table}, list(columns), list(optional))

    def episode_columns(self) -> Mapping[str, pa.DataType]:
        """See :meth:`Layout.episode_columns`."""
        return {name: column.type for name, column in self._stated.items()}

    def tasks(self) -> dict[int, str]:
        """See :meth:`Layout.tasks`."""
        path = self.root / self.tasks_file
        lines = list(_read_lines(path, ("task_index", "task")))
        return named_tasks(path, [line["task_index"] for line in lines], [line["task"] for line in lines])

    def image_statistics(self, key: str) -> Mapping[str, Any]:
        """Those over all episodes, weighted by their number of images; see :meth:`Layout.image_statistics`."""
        if self.statistics_file.name != Path(EPISODES_STATS_FILE).name:
            return {"count": [self.info["total_frames"]], **read_mapping(self.statistics_file)[key]}
        lines = _read_lines(self.statistics_file, ("episode_index", "stats"))  # thousands, of all features
        stated = dict(sorted((line["episode_index"], line["stats"][key]) for line in lines))
        mean, std, low, high, count = (
            np.array([np.ravel(one[name]) for one in stated.values()], float) for name in _AVERAGED
        )
        total = count.sum(axis=0)
        overall = (mean * count).sum(axis=0) / total
        variance = ((std**2 + (mean - overall) ** 2) * count).sum(axis=0) / total
        spread = {"mean": overall, "std": np.sqrt(variance)}
        return {**spread, "min": low.min(axis=0), "max": high.max(axis=0), "count": total}

    @property
    def statistics_file(self) -> Path:
        """See :attr:`Layout.statistics_file`."""
        by_episode = self.root / EPISODES_STATS_FILE
        return by_episode if by_episode.exists() else self.root / STATS_FILE

    @property
    def video_template(self) -> str:
        """See :attr:`Layout.video_template`."""
        template = str(self.info.get("video_path") or VIDEO_TEMPLATE)
        return template.replace("{episode_chunk", "{chunk_index").replace("{episode_index", "{file_index")

    @cached_property
    def _lines(self) -> list[dict[str, Any]]:
        """The lines of the table of episodes, whose numbers have no gaps."""
        path = self.root / EPISODES_FILE
        lines = list(_read_lines(path, ("episode_index", "length")))
        for number, line in enumerate(lines, 1):
            for name in ("episode_index", "length"):
                if type(line[name]) is not int or line[name] < (name == "length"):
                    raise DatasetError(f"Line {number} of {path} has {name} {line[name]!r}. Restore it from a copy.")
        numbers, total = Counter(line["episode_index"] for line in lines), self.info["total_episodes"]
        wrong = [f"has no episode {n}" for n in range(total) if n not in numbers]
        wrong += [f"has episode {n} {count} times" for n, count in numbers.items() if count > 1]
        wrong += [f"has an episode {n}" for n in numbers if not 0 <= n < total]
        if wrong:
            raise DatasetError(
                f"{path} {wrong[0]}: by total_episodes of meta/info.json there are {total}, and format 2 numbers them "
                f"from 0 without gaps. Fetch or copy the dataset again, whole; remove episodes with LeRobot's own tools."
            )
        return lines

    @cached_property
    def _stated(self) -> dict[str, pa.Array]:
        """What the lines state, by column."""
        names = dict.fromkeys(name for line in self._lines for name in line)
        try:
            return {name: pa.array([line.get(name) for line in self._lines]) for name in names}
        except pa.ArrowException as error:
            raise DatasetError(f"{self.root / EPISODES_FILE} has lines of different kinds: {error}.") from error

    @property
    def _chunk_size(self) -> int:
        size = self.info.get("chunks_size", EPISODES_IN_CHUNK)
        if type(size) is not int or size < 1:
            raise DatasetError(f"meta/info.json of the dataset at {self.root} has chunks_size {size!r}. Correct it.")
        return size

    def _chunk(self, episode: int) -> int:
        return episode // self._chunk_size

    def _video(self, key: str, episode: int) -> str:
        return fill_template(self.video_template, video_key=key, chunk_index=self._chunk(episode), file_index=episode)


def _read_lines(path: Path, keys: Iterable[str]) -> Iterator[dict[str, Any]]:
    """The mappings in the lines of a file, which have ``keys``; raises :class:`DatasetError` naming the line."""
    try:
        refuse_lfs_pointer(path)
        for number, line in read_json_lines(path):
            if not isinstance(line, dict) or (missing := [key for key in keys if key not in line]):
                lacks = f"lacks {missing[0]}" if isinstance(line, dict) else "is no mapping"
                raise DatasetError(f"Line {number} of {path} {lacks}. Restore it from a copy of the dataset.")
            yield line
    except FileNotFoundError as error:
        raise DatasetError(f"The dataset lacks {path}. Fetch or copy it again, whole.") from error
    except (OSError, ValueError) as error:
        raise DatasetError(f"{path} cannot be read ({error}). Restore it from a copy of the dataset.") from error
