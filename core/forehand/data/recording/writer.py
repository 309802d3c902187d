"""Dataset writer: frames, videos and metadata of new episodes, as the next files of a LeRobotDataset."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from forehand.contracts.contract import Contract
from forehand.data.features import IMAGE_PREFIX, INFO_FILE, annotation_names
from forehand.data.lerobot.episodes import read_tasks
from forehand.data.lerobot.v3 import TASKS_FILE
from forehand.data.recording import tables
from forehand.data.recording.places import filled, following, free_place
from forehand.data.recording.recorder import StagedEpisode
from forehand.utils import video
from forehand.utils.plain import to_plain

_LARGEST_TABLE = 200_000  # frames in one data file; LeRobot's limit is 100 MB


def write_episodes(
    root: Path, target: Path, new: Sequence[StagedEpisode], contract: Contract, info: dict[str, Any]
) -> None:
    """Write below ``target`` what the dataset at ``root`` is to gain: files of the ``new`` episodes, and all metadata.

    info: the content of ``meta/info.json`` before.
    """
    annotations = annotation_names(info["features"])
    tasks = _old_tasks(root)
    for sentence in dict.fromkeys(e.instruction for e in new):
        if sentence not in tasks.values():
            tasks[max(tasks, default=-1) + 1] = sentence
    numbers = {sentence: number for number, sentence in tasks.items()}
    frames: list[pa.Table] = []
    rows: list[dict[str, Any]] = []
    first = info["total_frames"]
    for episode in new:
        task = numbers[episode.instruction]
        frames.append(tables.frame_table(episode, episode.index, first, task, info["fps"], annotations, contract.sensors))
        stats = tables.table_statistics(frames[-1:]) | tables.image_statistics(episode.histograms, len(episode))
        stats |= tables.sensor_statistics(episode, contract.sensors)
        rows.append(
            {
                "episode_index": episode.index,
                "tasks": [episode.instruction],
                "length": len(episode),
                "dataset_from_index": first,
                "dataset_to_index": first + len(episode),
                **{f"forehand/{name}": fact for name, fact in episode.facts.items()},
                **{f"stats/{key}/{n}": v for key, values in to_plain(stats).items() for n, v in values.items()},
            }
        )
        first += len(episode)

    _write_data(root, target, frames, new, contract, rows, info)
    for camera in contract.cameras if new[0].encoding is not None else ():
        _write_videos(root, target, camera.name, new, rows, info)
    _write_rows(root, target, rows, info)
    tables.write_tasks(target, tasks)
    histograms = _all_histograms(root, new, contract, info)
    tables.write_json(target, tables.STATS_FILE, to_plain(_all_statistics(root, frames, new, contract, histograms)))
    if histograms is not None:
        tables.write_histograms(target, histograms, first)
    info = info | {
        "total_episodes": info["total_episodes"] + len(new),
        "total_frames": first,
        "total_tasks": len(tasks),
    }
    tables.write_json(target, INFO_FILE, info | {"splits": {"train": f"0:{info['total_episodes']}"}})


def _old_tasks(root: Path) -> dict[int, str]:
    return read_tasks(root) if (root / TASKS_FILE).exists() else {}


def _all_histograms(
    root: Path, new: Sequence[StagedEpisode], contract: Contract, info: dict[str, Any]
) -> tables.Histograms | None:
    """Counts of levels over old and new episodes; None where those of the old ones are not known."""
    before = tables.read_histograms(root, info["total_frames"])
    if before is None and info["total_frames"]:
        return None
    found = {c.name: np.sum([e.histograms[c.name] for e in new], axis=0) for c in contract.cameras}
    return found if before is None else {name: before[name] + counts for name, counts in found.items()}


def _all_statistics(
    root: Path,
    frames: Sequence[pa.Table],
    new: Sequence[StagedEpisode],
    contract: Contract,
    histograms: tables.Histograms | None,
) -> tables.Stats:
    """Over old and new episodes."""
    columns = tables.numeric_columns(frames[0])
    old = [pq.read_table(file, columns=columns) for file in sorted((root / "data").rglob("*.parquet"))]
    merged: tables.Stats = {}
    if histograms is None:
        own = {c.name: np.sum([e.histograms[c.name] for e in new], axis=0) for c in contract.cameras}
        merged = tables.image_statistics(own, sum(map(len, new)))
    for episode in new:
        for key, stats in tables.sensor_statistics(episode, contract.sensors).items():
            merged[key] = tables.merge_statistics(merged[key], stats) if key in merged else stats
    before = tables.read_stats(root)
    merged |= {k: tables.merge_statistics(before[k], merged[k]) for k in merged if k in before}
    total = sum(map(len, old)) + sum(map(len, new))
    exact = {} if histograms is None else tables.image_statistics(histograms, total)
    return tables.table_statistics([*old, *frames]) | exact | merged


def _write_rows(root: Path, target: Path, rows: list[dict[str, Any]], info: dict[str, Any]) -> None:
    folder = root / "meta" / "episodes"
    place = free_place(folder, info)
    for row in rows:
        row |= {"meta/episodes/chunk_index": place[0], "meta/episodes/file_index": place[1]}
    old = sorted(folder.rglob("*.parquet"))
    like = pq.read_schema(old[0]) if old else None
    tables.write_episode_rows(target / filled(tables.EPISODES_PATH, place), rows, like)


def _write_data(
    root: Path,
    target: Path,
    frames: Sequence[pa.Table],
    new: Sequence[StagedEpisode],
    contract: Contract,
    rows: Sequence[dict[str, Any]],
    info: dict[str, Any],
) -> None:
    place = free_place(root / "data", info)
    limit = info["data_files_size_in_mb"] * 2**20
    # Depth and point clouds are read one episode after the other, and they make files large.
    sizes = [
        len(f) + _LARGEST_TABLE * sum(int(n.sum()) for n in e.lengths.values()) // limit
        for f, e in zip(frames, new, strict=True)
    ]
    for group in _groups(sizes, _LARGEST_TABLE):
        parts = (
            tables.with_images(tables.with_sensors(frames[i], new[i], contract.sensors), new[i], contract.cameras)
            for i in group
        )
        tables.write_frames(target / filled(tables.DATA_PATH, place), parts)
        for i in group:
            rows[i]["data/chunk_index"], rows[i]["data/file_index"] = place
        place = following(place, info)


def _write_videos(
    root: Path,
    target: Path,
    camera: str,
    new: Sequence[StagedEpisode],
    rows: Sequence[dict[str, Any]],
    info: dict[str, Any],
) -> None:
    key = IMAGE_PREFIX + camera
    place = free_place(root / "videos" / key, info)
    limit = info["video_files_size_in_mb"] * 2**20
    sizes = [e.video(camera).stat().st_size for e in new]
    # Videos that were encoded differently cannot be joined.
    kinds = [e.encoding for e in new]
    for group in _groups(sizes, limit, kinds):
        path = target / filled(tables.VIDEO_PATH, place, video_key=key)
        path.parent.mkdir(parents=True, exist_ok=True)
        video.join([(new[i].video(camera), len(new[i])) for i in group], path, info["fps"])
        start = 0
        for i in group:
            rows[i] |= {
                f"videos/{key}/chunk_index": place[0],
                f"videos/{key}/file_index": place[1],
                f"videos/{key}/from_timestamp": start / info["fps"],
                f"videos/{key}/to_timestamp": (start + len(new[i])) / info["fps"],
            }
            start += len(new[i])
        place = following(place, info)


def _groups(sizes: Sequence[int], limit: int, kinds: Sequence[Any] | None = None) -> list[list[int]]:
    """Consecutive positions in groups of one kind whose sizes add up to no more than ``limit`` (or are one)."""
    groups: list[list[int]] = []
    total = 0
    for position, size in enumerate(sizes):
        if not groups or total + size > limit or (kinds and kinds[position] != kinds[position - 1]):
            groups.append([])
            total = 0
        groups[-1].append(position)
        total += size
    return groups
