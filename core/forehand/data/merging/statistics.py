"""Statistics of a merged dataset: exact over its columns, and over images where their histograms are kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from forehand.contracts.sensor import POINT_CLOUD
from forehand.data.features import sensor_key
from forehand.data.merging.parts import Part
from forehand.data.reading import table_files
from forehand.data.recording import tables


def merged_statistics(
    target: Path, parts: Sequence[Part], features: Mapping[str, Mapping[str, Any]]
) -> tuple[tables.Stats, tables.Histograms | None]:
    """Statistics of the frames below ``target``, which are those of ``parts``, and histograms of images if all have them.

    features: those of the merged dataset. Without histograms, and of depth and point clouds, quantiles are averaged as
    LeRobot does; all else is exact.
    """
    files = table_files(target, "data")
    found: tables.Stats = {}
    for name in _numeric_columns(parts, features):
        found |= tables.table_statistics([pq.read_table(file, columns=[name]) for file in files])
    histograms = _summed([None if p.span else tables.read_histograms(p.root, p.info["total_frames"]) for p in parts])
    images = {} if histograms is None else tables.image_statistics(histograms, sum(p.info["total_frames"] for p in parts))
    for part in parts:
        for key, new in _stated(part).items():
            if key in found or (histograms is not None and key.removeprefix(tables.IMAGE_PREFIX) in histograms):
                continue
            images[key] = tables.merge_statistics(images[key], new) if key in images else new
    return found | images, histograms


def _stated(part: Part) -> tables.Stats:
    """The statistics of a part, of those of its episodes where only some are merged."""
    if part.span is None:
        stated = tables.read_stats(part.root)
        return {key: {name: np.asarray(values) for name, values in stats.items()} for key, stats in stated.items()}
    found: tables.Stats = {}
    for row in part.episode_rows().to_pylist():
        stats: tables.Stats = {}
        for column, value in row.items():
            if column.startswith("stats/") and value is not None:
                key, name = column.removeprefix("stats/").rsplit("/", 1)
                stats.setdefault(key, {})[name] = np.asarray(value)
        for key, new in stats.items():
            if part.info["features"].get(key, {}).get("dtype") in ("image", "video"):
                found[key] = tables.merge_statistics(found[key], new) if key in found else new
    return found


def _numeric_columns(parts: Sequence[Part], features: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The columns whose statistics follow from the tables: all but words, images, and points that may be missing."""
    clouds = {sensor_key(sensor) for sensor in parts[0].contract.sensors if sensor.kind == POINT_CLOUD}
    others = ("string", "image", "video")
    return [key for key, f in features.items() if f["dtype"] not in others and key not in clouds]


def _summed(found: Sequence[tables.Histograms | None]) -> tables.Histograms | None:
    if any(one is None for one in found):
        return None
    known = [one for one in found if one is not None]
    return {camera: np.sum([one[camera] for one in known], axis=0) for camera in known[0]}
