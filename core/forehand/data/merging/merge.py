"""Merging of datasets: tables with new numbers, and videos as they are."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from forehand.contracts.contract import Contract
from forehand.data.features import INFO_FILE, camera_keys, write_contract
from forehand.data.importing.record import IMPORT_FILE
from forehand.data.labels import CONFIDENCE_KEY, LABELS_FILE, ORIGIN_KEY, RECORDED
from forehand.data.lerobot.episodes import read_tasks
from forehand.data.lerobot.v3 import TASKS_FILE
from forehand.data.merging.parts import Part, merged_contract, merged_labellings, merged_record
from forehand.data.merging.statistics import merged_statistics
from forehand.data.reading import read_table, table_files
from forehand.data.recording import tables
from forehand.data.recording.commit import publish, recording_lock, staging
from forehand.data.recording.places import Place, filled, following
from forehand.errors import DatasetError
from forehand.utils.files import link_or_copy
from forehand.utils.plain import to_plain

_COUNTED = ("index", "episode_index", "task_index")

Places = dict[Place, Place]
"""Chunk and number of a file in a part → those in the merged dataset."""


def merge_datasets(parts: Sequence[Part], output: Path, show: Callable[[int], None] = lambda _: None) -> dict[str, Any]:
    """Write the episodes of ``parts``, one after the other, as a dataset at ``output``; returns its ``info.json``.

    Videos are linked where the file system can, else copied. The output appears at once, when all of it is written.
    ``show`` is called with the number of parts that are done. Raises :class:`DatasetError` where something is there.
    """
    if (output / INFO_FILE).exists():
        raise DatasetError(f"{output.absolute()} holds a dataset already. Choose a new folder.")
    with recording_lock(output):
        merged = Merged(staging(output), parts)
        for number, part in enumerate(parts, start=1):
            if not part.empty:
                merged.add(part)
            show(number)
        info = merged.finish()
        publish(output)
    return info


class Merged:
    """The merged dataset while it is written below ``target``."""

    def __init__(self, target: Path, parts: Sequence[Part]) -> None:
        self._target, self._all = target, parts
        self._parts = [part for part in parts if not part.empty]
        features = {key: feature for part in self._parts for key, feature in part.info["features"].items()}
        self._info = dict(self._parts[0].info) | {
            "features": features,
            "data_path": tables.DATA_PATH,
            "video_path": tables.VIDEO_PATH,
            "total_episodes": 0,
            "total_frames": 0,
        }
        self._shift = (0, 0)
        self._next: dict[str, Place] = {}
        self._tasks: dict[str, int] = {}
        self._rows: list[pa.Table] = []
        self._linked: dict[tuple[str, int, int], Place] = {}
        self._columns: list[str] = []

    @property
    def contract(self) -> Contract:
        """What the contracts of all state."""
        return merged_contract(self._parts)[0]

    def documents(self) -> dict[str, Any]:
        """JSON files that the dataset has, too, by their path in it."""
        labellings, record = merged_labellings(self._parts), merged_record(self._all)
        found: dict[str, Any] = {LABELS_FILE: {"labellings": labellings}} if labellings else {}
        return found if record is None else found | {IMPORT_FILE: record}

    def new_columns(self, part: Part) -> set[str]:
        """Columns of frames whose values are not those of ``part``: those that it lacks."""
        return set(self._info["features"].keys() - part.info["features"].keys())

    def with_columns(self, table: pa.Table) -> pa.Table:
        """The frames of an episode with columns that its part lacks: recorded actions say so, where others do."""
        if ORIGIN_KEY not in self._info["features"] or ORIGIN_KEY in table.column_names:
            return table
        columns = {ORIGIN_KEY: [RECORDED] * len(table), CONFIDENCE_KEY: np.ones(len(table), np.float32)}
        for name, values in columns.items():
            table = table.append_column(name, pa.array(values))
        return table

    def add(self, part: Part) -> None:
        """Append the episodes of ``part``."""
        names = read_tasks(part.root) if (part.root / TASKS_FILE).exists() else {}
        numbers = {old: self._tasks.setdefault(sentence, len(self._tasks)) for old, sentence in names.items()}
        rows = part.episode_rows()
        first = (rows["episode_index"][0].as_py(), rows["dataset_from_index"][0].as_py()) if part.span else (0, 0)
        self._shift = (self._info["total_episodes"] - first[0], self._info["total_frames"] - first[1])
        data, stats = self._write_data(part, numbers)
        videos = {key: self._place_videos(part, key, rows) for key in _video_keys(part.info)}
        self._rows.append(self._renumbered(rows, data, videos, stats))
        self._info["total_episodes"] += len(rows)
        self._info["total_frames"] += sum(rows["length"].to_pylist())

    def finish(self) -> dict[str, Any]:
        """Write all metadata; returns ``info.json``."""
        rows = pa.concat_tables(self._rows, promote_options="default")
        path = self._target / filled(tables.EPISODES_PATH, (0, 0))
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(rows, path, compression="snappy")
        write_contract(self._target, self.contract)
        tables.write_tasks(self._target, {number: sentence for sentence, number in self._tasks.items()})
        statistics, histograms = merged_statistics(self._target, self._parts, self._info["features"])
        tables.write_json(self._target, tables.STATS_FILE, to_plain(statistics))
        if histograms is not None:
            tables.write_histograms(self._target, histograms, self._info["total_frames"])
        for name, content in self.documents().items():
            tables.write_json(self._target, name, content)
        self._info["total_tasks"] = len(self._tasks)
        self._info["splits"] = {"train": f"0:{self._info['total_episodes']}"}
        tables.write_json(self._target, INFO_FILE, self._info)
        return self._info

    def _write_data(self, part: Part, tasks: Mapping[int, int]) -> tuple[Places, list[tables.Stats]]:
        """Write the frames; returns where files went, and the statistics of their new numbers by episode."""
        places: Places = {}
        stats: list[tables.Stats] = []
        added = self.new_columns(part)
        for file in table_files(part.root, "data"):
            if part.span and not len(np.intersect1d(read_table(file, ["episode_index"])["episode_index"], part.span)):
                continue
            place = self._place("data")
            places[_place_of(file)] = place

            def renumbered(file: Path = file) -> Iterator[pa.Table]:
                for table in _episodes_of(file):
                    if part.span and table["episode_index"][0].as_py() not in part.span:
                        continue
                    counted = self._counted(self.with_columns(table), tasks)
                    new = [*_COUNTED, *(name for name in tables.numeric_columns(counted) if name in added)]
                    stats.append(tables.table_statistics([counted.select(new)]))
                    self._columns = self._columns or counted.column_names
                    yield counted.select(self._columns)

            tables.write_frames(self._target / filled(tables.DATA_PATH, place), renumbered())
        return places, stats

    def _counted(self, table: pa.Table, tasks: Mapping[int, int]) -> pa.Table:
        """Frames with the numbers that they have in the merged dataset."""
        numbers = {
            "index": table["index"].to_numpy() + self._shift[1],
            "episode_index": table["episode_index"].to_numpy() + self._shift[0],
            "task_index": np.array([tasks[number] for number in table["task_index"].to_pylist()], np.int64),
        }
        for name, values in numbers.items():
            table = table.set_column(
                table.column_names.index(name), name, pa.array(values, table.schema.field(name).type)
            )
        return table

    def _place_videos(self, part: Part, key: str, rows: pa.Table) -> Places:
        places: Places = {}
        wanted = set(zip(*(rows[f"videos/{key}/{of}_index"].to_pylist() for of in ("chunk", "file")), strict=True))
        for file in sorted((part.root / "videos" / key).rglob("*.mp4")):
            if part.span and _place_of(file) not in wanted:
                continue
            content = (key, file.stat().st_dev, file.stat().st_ino)
            if content in self._linked:  # shards of a labelling have the videos of all
                places[_place_of(file)] = self._linked[content]
                continue
            place = places[_place_of(file)] = self._linked[content] = self._place(key)
            target = self._target / filled(tables.VIDEO_PATH, place, video_key=key)
            target.parent.mkdir(parents=True, exist_ok=True)
            link_or_copy(file, target)
        return places

    def _renumbered(
        self, rows: pa.Table, data: Places, videos: Mapping[str, Places], stats: Sequence[tables.Stats]
    ) -> pa.Table:
        """The table of episodes with new numbers, places and statistics of the numbers."""
        episodes, frames = self._shift
        new: dict[str, Any] = {
            "episode_index": rows["episode_index"].to_numpy() + episodes,
            "dataset_from_index": rows["dataset_from_index"].to_numpy() + frames,
            "dataset_to_index": rows["dataset_to_index"].to_numpy() + frames,
            "meta/episodes/chunk_index": np.zeros(len(rows), np.int64),
            "meta/episodes/file_index": np.zeros(len(rows), np.int64),
        }
        for prefix, places in {"data": data, **{f"videos/{key}": found for key, found in videos.items()}}.items():
            columns = [f"{prefix}/chunk_index", f"{prefix}/file_index"]
            old = zip(*(rows[column].to_pylist() for column in columns), strict=True)
            new |= dict(zip(columns, map(list, zip(*(places[place] for place in old), strict=True)), strict=True))
        for name in stats[0]:
            for key in stats[0][name]:
                new[f"stats/{name}/{key}"] = to_plain([episode[name][key] for episode in stats])
        for name, values in new.items():
            if name.startswith("stats/") and name not in rows.column_names:
                rows = rows.append_column(name, pa.array(values))
            elif name in rows.column_names:
                position = rows.column_names.index(name)
                rows = rows.set_column(position, name, pa.array(values, rows.schema.field(name).type))
        return rows

    def _place(self, folder: str) -> Place:
        """Chunk and number of the next file of ``folder``."""
        place = following(self._next[folder], self._info) if folder in self._next else (0, 0)
        self._next[folder] = place
        return place


def _episodes_of(file: Path) -> Iterator[pa.Table]:
    """The frames of each episode in a table of frames, one after the other."""
    with pq.ParquetFile(file) as opened:
        rest: pa.Table | None = None
        for group in range(opened.num_row_groups):
            table = opened.read_row_group(group)
            rest = table if rest is None else pa.concat_tables([rest, table])
            ends = np.flatnonzero(np.diff(rest["episode_index"].to_numpy())) + 1
            for first, last in zip([0, *ends[:-1]], ends, strict=False):
                yield rest.slice(first, last - first)
            rest = rest.slice(ends[-1]) if len(ends) else rest
        if rest is not None and len(rest):
            yield rest


def _place_of(file: Path) -> Place:
    return int(file.parent.name.removeprefix("chunk-")), int(file.stem.removeprefix("file-"))


def _video_keys(info: Mapping[str, Any]) -> list[str]:
    keys = camera_keys(info["features"]).values()
    return [key for key in keys if info["features"][key]["dtype"] == "video"]
