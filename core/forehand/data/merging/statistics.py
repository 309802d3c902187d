"""Statistics of a merged dataset: exact over its columns, and over images where their histograms are kept."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from forehand.contracts.sensor import POINT_CLOUD
from forehand.data.features import sensor_key
from forehand.data.merging.parts import Part
from forehand.data.reading import table_files
from forehand.data.recording import tables


def merged_statistics(target: Path, parts: Sequence[Part]) -> tuple[tables.Stats, tables.Histograms | None]:
    """Statistics of the frames below ``target``, which are those of ``parts``, and histograms of images if all have them.

    Without histograms, and of depth and point clouds, quantiles are averaged as LeRobot does; all else is exact.
    """
    files = table_files(target, "data")
    found: tables.Stats = {}
    for name in _numeric_columns(parts[0]):
        found |= tables.table_statistics([pq.read_table(file, columns=[name]) for file in files])
    histograms = _summed([tables.read_histograms(part.root, part.info["total_frames"]) for part in parts])
    images = {} if histograms is None else tables.image_statistics(histograms, sum(p.info["total_frames"] for p in parts))
    for part in parts:
        for key, stats in tables.read_stats(part.root).items():
            if key in found or (histograms is not None and key.removeprefix(tables.IMAGE_PREFIX) in histograms):
                continue
            new = {name: np.asarray(values) for name, values in stats.items()}
            images[key] = tables.merge_statistics(images[key], new) if key in images else new
    return found | images, histograms


def _numeric_columns(part: Part) -> list[str]:
    """The columns whose statistics follow from the tables: all but words, images, and points that may be missing."""
    clouds = {sensor_key(sensor) for sensor in part.contract.sensors if sensor.kind == POINT_CLOUD}
    others = ("string", "image", "video")
    return [key for key, f in part.info["features"].items() if f["dtype"] not in others and key not in clouds]


def _summed(found: Sequence[tables.Histograms | None]) -> tables.Histograms | None:
    if any(one is None for one in found):
        return None
    known = [one for one in found if one is not None]
    return {camera: np.sum([one[camera] for one in known], axis=0) for camera in known[0]}
