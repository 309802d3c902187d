"""Table writer for LeRobot's dataset format v3.0, with pyarrow alone.

LeRobot's own writer makes an unfinished file unreadable, and averages the quantiles of single episodes; importing it
takes ten seconds and torch. The format itself is small: a table of frames, a table of episodes, one of tasks, and two
JSON files.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from forehand.contracts.contract import Camera, Contract
from forehand.contracts.sensor import POINT_CLOUD, VECTOR, Sensor
from forehand.data.episode_table import QUANTILES, column_statistics
from forehand.data.features import (
    ACTION_KEY,
    ANNOTATION_PREFIX,
    IMAGE_PREFIX,
    STATE_KEY,
    STATS_FILE,
    annotation_features,
    read_mapping,
    sensor_key,
    to_features,
)
from forehand.data.lerobot.v3 import FORMAT, TASKS_FILE
from forehand.data.reading import to_matrix
from forehand.data.recording.recorder import StagedEpisode
from forehand.data.recording.requirements import integer_rate
from forehand.data.recording.sensor_files import read_images, read_sensor
from forehand.utils.video import Encoding

DATA_PATH = "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
EPISODES_PATH = "meta/episodes/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
VIDEO_PATH = "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4"

HISTOGRAMS_FILE = "meta/forehand_histograms.json"
"""Counts of levels by camera and channel, over all episodes: what exact statistics of images are merged from."""

Stats = dict[str, dict[str, NDArray[Any]]]
Histograms = dict[str, NDArray[np.int64]]
"""Camera → (3, 256) counts of levels by channel."""

BOOKKEEPING = {
    "timestamp": "float32",
    "frame_index": "int64",
    "episode_index": "int64",
    "index": "int64",
    "task_index": "int64",
}


def new_info(
    contract: Contract, encoding: Encoding | None, robot: str | None, annotations: Iterable[str] = ()
) -> dict[str, Any]:
    """``meta/info.json`` of a dataset without episodes, whose frames are to have these ``annotations``.

    encoding: of the videos; None where images are kept as files.
    """
    rate = integer_rate(contract)
    features = to_features(contract)
    for feature in features.values():
        if feature["dtype"] == "video" and encoding is None:
            feature["dtype"] = "image"
        elif feature["dtype"] == "video" and encoding is not None:
            feature["info"] = {
                "video.height": feature["shape"][0],
                "video.width": feature["shape"][1],
                "video.codec": encoding.canonical_codec,
                "video.fps": rate,
                "video.channels": 3,
                "has_audio": False,
                **encoding.describe(),
                "is_depth_map": False,
            }
    for name, dtype in BOOKKEEPING.items():
        features[name] = {"dtype": dtype, "shape": (1,), "names": None}
    features |= annotation_features(annotations)
    return {
        "codebase_version": FORMAT,
        "fps": rate,
        "features": features,
        "total_episodes": 0,
        "total_frames": 0,
        "total_tasks": 0,
        "chunks_size": 1000,
        "data_files_size_in_mb": 100,
        "video_files_size_in_mb": 200,
        "data_path": DATA_PATH,
        "video_path": None if encoding is None else VIDEO_PATH,
        "robot_type": robot,
        "splits": {},
    }


def write_json(root: Path, name: str, content: Any) -> None:
    """Write one of the JSON files, indented as LeRobot does."""
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=4, ensure_ascii=False) + "\n")


def write_tasks(root: Path, tasks: Mapping[int, str]) -> None:
    """Write the tasks by their index; LeRobot reads them as a pandas data frame and looks them up by its index."""
    columns = [
        {"name": name, "field_name": name, "pandas_type": kind, "numpy_type": numpy_kind, "metadata": None}
        for name, kind, numpy_kind in (("task_index", "int64", "int64"), ("task", "unicode", "object"))
    ]
    frame = {"index_columns": ["task"], "column_indexes": [], "columns": columns, "pandas_version": "2.0.0"}
    numbers, sentences = pa.array(tasks.keys(), pa.int64()), pa.array(tasks.values(), pa.string())
    table = pa.table({"task_index": numbers, "task": sentences})
    pq.write_table(table.replace_schema_metadata({"pandas": json.dumps(frame)}), root / TASKS_FILE)


def frame_table(
    episode: StagedEpisode,
    index: int,
    first: int,
    task: int,
    rate: int,
    annotations: Iterable[str],
    sensors: Iterable[Sensor] = (),
) -> pa.Table:
    """The frames of one episode but for its depth and point clouds; ``first`` is the number of the first in the dataset.

    ``annotations``: those that the dataset has; "" stands where the episode lacks one.
    """
    steps = np.arange(len(episode))
    numbers = {STATE_KEY: episode.states, ACTION_KEY: episode.actions}
    silent = [""] * len(steps)
    return pa.table(
        {
            **{key: vectors(values) for key, values in numbers.items() if values.shape[1]},
            **sensor_columns(episode, [s for s in sensors if s.kind == VECTOR]),
            "timestamp": (steps / rate).astype(np.float32),
            "frame_index": steps,
            "episode_index": np.full(len(steps), index),
            "index": first + steps,
            "task_index": np.full(len(steps), task),
            **{ANNOTATION_PREFIX + n: pa.array(episode.annotations.get(n, silent), pa.string()) for n in annotations},
        }
    )


def sensor_columns(episode: StagedEpisode, sensors: Iterable[Sensor]) -> dict[str, pa.Array]:
    """The columns of ``sensors``, by their LeRobot names."""
    return {sensor_key(s): read_sensor(episode.sensor_file(s.name), s, episode.lengths[s.name]) for s in sensors}


def with_images(table: pa.Table, episode: StagedEpisode, cameras: Iterable[Camera]) -> pa.Table:
    """:func:`frame_table`, and the images of the episode where they are kept as files."""
    for camera in cameras if episode.encoding is None else ():
        images = read_images(episode.sensor_file(camera.name), episode.lengths[camera.name])
        table = table.append_column(IMAGE_PREFIX + camera.name, images)
    return table


def with_sensors(table: pa.Table, episode: StagedEpisode, sensors: Iterable[Sensor]) -> pa.Table:
    """:func:`frame_table`, and the depth and point clouds of the episode."""
    for key, column in sensor_columns(episode, [s for s in sensors if s.kind != VECTOR]).items():
        table = table.append_column(key, column)
    return table


def sensor_statistics(episode: StagedEpisode, sensors: Iterable[Sensor]) -> Stats:
    """Of the depth and point clouds of one episode, by their LeRobot names.

    Those of a cloud's channels are repeated for each point: LeRobot merges statistics of the feature's own shape only.
    """
    found: Stats = {}
    for sensor in sensors:
        if (own := episode.sensor_statistics.get(sensor.name)) is not None:
            points = sensor.full_shape[0] if sensor.kind == POINT_CLOUD else 1
            found[sensor_key(sensor)] = {
                name: np.tile(values, points) if name != "count" and points > 1 else values
                for name, values in own.items()
            }
    return found


def write_frames(path: Path, episodes: Iterable[pa.Table]) -> None:
    """Write frames, one row group an episode, so that an episode can be read by itself."""
    path.parent.mkdir(parents=True, exist_ok=True)
    writer: pq.ParquetWriter | None = None
    for table in episodes:
        writer = writer or pq.ParquetWriter(path, table.schema, compression="snappy")
        writer.write_table(table)
    if writer is not None:
        writer.close()


def write_episode_rows(path: Path, rows: list[dict[str, Any]], like: pa.Schema | None) -> None:
    """Write the table of episodes, with the columns of ``like`` if the dataset has such tables already."""
    names = dict.fromkeys(name for row in rows for name in row)
    table = pa.table({name: pa.array([row.get(name) for row in rows]) for name in names})
    if like is not None:
        columns = {f.name: table[f.name] if f.name in table.column_names else pa.nulls(len(rows)) for f in like}
        table = pa.table({f.name: columns[f.name].cast(f.type) for f in like})
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path, compression="snappy")


def table_statistics(frames: Sequence[pa.Table]) -> Stats:
    """Exact statistics of every column of numbers over all of the tables."""
    names = numeric_columns(frames[-1])
    return {name: column_statistics(np.concatenate([to_matrix(table[name]) for table in frames])) for name in names}


def numeric_columns(frames: pa.Table) -> list[str]:
    """The columns that have statistics: all but words."""
    return [field.name for field in frames.schema if not pa.types.is_string(field.type)]


def image_statistics(histograms: Mapping[str, NDArray[np.int64]], frames: int) -> Stats:
    """Exact statistics by channel, each (3, 1, 1) and scaled to [0, 1], from (3, 256) counts of levels."""
    levels = np.arange(256) / 255
    found: Stats = {}
    for camera, counts in histograms.items():
        share = counts / counts.sum(axis=1, keepdims=True)
        below = share.cumsum(axis=1)
        mean = share @ levels
        values = {
            "mean": mean,
            "std": np.sqrt(np.maximum(share @ levels**2 - mean**2, 0)),
            "min": levels[(counts > 0).argmax(axis=1)],
            "max": levels[255 - (counts[:, ::-1] > 0).argmax(axis=1)],
            **{name: levels[(below >= q - 1e-9).argmax(axis=1)] for name, q in QUANTILES.items()},
        }
        found[IMAGE_PREFIX + camera] = {name: v.reshape(3, 1, 1) for name, v in values.items()}
        found[IMAGE_PREFIX + camera]["count"] = np.array([frames])
    return found


def merge_statistics(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, NDArray[Any]]:
    """Statistics over both; exact but for the quantiles, which are averaged as LeRobot does."""
    counts = np.array([old["count"][0], new["count"][0]], float)
    weights = (counts / counts.sum()).reshape(2, *(1 for _ in np.shape(new["mean"])))
    both = {name: np.stack([np.asarray(old[name], float), new[name]]) for name in new if name in old}
    merged = {name: (weights * v).sum(axis=0) for name, v in both.items() if name != "count"}
    spread = both["std"] ** 2 + (both["mean"] - merged["mean"]) ** 2
    merged |= {
        "std": np.sqrt((weights * spread).sum(axis=0)),
        "min": both["min"].min(axis=0),
        "max": both["max"].max(axis=0),
        "count": np.array([int(counts.sum())]),
    }
    return merged


def read_stats(root: Path) -> dict[str, dict[str, Any]]:
    """``meta/stats.json`` as it stands, or nothing where a dataset has none."""
    path = root / STATS_FILE
    return read_mapping(path) if path.exists() else {}


def write_histograms(root: Path, histograms: Histograms, frames: int) -> None:
    """Write :data:`HISTOGRAMS_FILE`, of so many frames."""
    write_json(root, HISTOGRAMS_FILE, {"frames": frames, "counts": {n: c.tolist() for n, c in histograms.items()}})


def read_histograms(root: Path, frames: int) -> Histograms | None:
    """:data:`HISTOGRAMS_FILE` of the dataset at ``root``; None without one, or where it is of other ``frames``."""
    content = read_mapping(root / HISTOGRAMS_FILE) if (root / HISTOGRAMS_FILE).exists() else {}
    if content.get("frames") != frames:  # another program has added to the dataset
        return None
    return {name: np.array(counts, np.int64) for name, counts in content["counts"].items()}


def vectors(values: NDArray[np.float32]) -> pa.Array:
    """A column of vectors, from (N, D) numbers."""
    if values.shape[1] == 1:  # LeRobot stores vectors of one element as numbers
        return pa.array(values[:, 0])
    return pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), values.shape[1])
