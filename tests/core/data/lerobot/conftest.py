"""Datasets of formats 2.1 and 2.0 as LeRobot wrote them, and what LeRobot's own script makes of one."""

import json
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray

from forehand.data.features import camera_keys, read_info
from forehand.data.lerobot.episodes import read_episodes, read_tasks
from forehand.data.lerobot.frames import open_frames
from forehand.utils.video import Encoding, VideoWriter

CHUNK = 2
"""Episodes in a folder; LeRobot's default is 1000."""


def write_lines(path: Path, values: Iterable[Any]) -> None:
    path.write_text("".join(json.dumps(value) + "\n" for value in values))


def image_statistics(frames: NDArray[np.uint8]) -> dict[str, Any]:
    levels = frames / 255
    found = {
        name: getattr(levels, name)(axis=(0, 1, 2)).reshape(3, 1, 1).tolist() for name in ("mean", "std", "min", "max")
    }
    return {**found, "count": [len(frames)]}


def vector_statistics(values: NDArray[Any]) -> dict[str, Any]:
    found = {name: getattr(values.astype(float), name)(axis=0).tolist() for name in ("mean", "std", "min", "max")}
    return {**found, "count": [len(values)]}


def write_v2(root: Path, v3: Path, version: str, pictures: str = "video") -> Path:
    """The dataset ``v3``, of format 3, in format ``version``: a table and a video of each episode, encoded again.

    pictures: "image" for files of PNG in the tables.
    """
    info, table = (
        read_info(v3),
        pa.concat_tables([pq.read_table(file) for file in sorted((v3 / "data").rglob("*.parquet"))]),
    )
    keys = list(camera_keys(info["features"]).values())
    table = table.select([name for name in table.column_names if name not in keys])
    frames = {key: np.array(open_frames(v3, key, tuple(info["features"][key]["shape"][:2]))) for key in keys}
    numbers, sentences = read_episodes(v3), read_tasks(v3)
    lines, statistics = [], []
    for episode in np.unique(numbers.episode).tolist():
        rows = np.flatnonzero(numbers.episode == episode)
        part, chunk = table.slice(rows[0], len(rows)), f"chunk-{episode // CHUNK:03d}"
        for key in keys:
            if pictures == "image":
                part = part.append_column(key, png_column(frames[key][rows]))
                continue
            path = root / "videos" / chunk / key / f"episode_{episode:06d}.mp4"
            path.parent.mkdir(parents=True, exist_ok=True)
            writer = VideoWriter(path, info["fps"], *frames[key].shape[1:3], Encoding())
            for frame in frames[key][rows]:
                writer.write(frame)
            writer.close()
        path = root / "data" / chunk / f"episode_{episode:06d}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(part, path)
        tasks = sorted(set(part["task_index"].to_pylist()))
        lines.append({"episode_index": episode, "tasks": [sentences[t] for t in tasks], "length": len(rows)})
        found = {key: image_statistics(frames[key][rows]) for key in keys}
        found |= {
            "observation.state": vector_statistics(numbers.states[rows]),
            "action": vector_statistics(numbers.actions[rows]),
        }
        statistics.append({"episode_index": episode, "stats": found})
    (root / "meta").mkdir(parents=True)
    write_lines(root / "meta/episodes.jsonl", lines)
    write_lines(root / "meta/tasks.jsonl", [{"task_index": i, "task": sentence} for i, sentence in sentences.items()])
    if version == "v2.1":
        write_lines(root / "meta/episodes_stats.jsonl", statistics)
    else:
        stated = {key: image_statistics(frames[key]) for key in keys}
        (root / "meta/stats.json").write_text(
            json.dumps({k: {n: v for n, v in s.items() if n != "count"} for k, s in stated.items()})
        )
    features = {key: dict(feature) for key, feature in info["features"].items()}
    for key in keys:
        features[key] |= {"dtype": pictures}
    about = {
        "codebase_version": version,
        "robot_type": "tests",
        "total_episodes": len(lines),
        "total_frames": info["total_frames"],
        "total_tasks": len(sentences),
        "total_videos": len(lines) * len(keys) if pictures == "video" else 0,
        "total_chunks": -(-len(lines) // CHUNK),
        "chunks_size": CHUNK,
        "fps": info["fps"],
        "splits": {"train": f"0:{len(lines)}"},
        "data_path": "data/chunk-{episode_chunk:03d}/episode_{episode_index:06d}.parquet",
        "video_path": "videos/chunk-{episode_chunk:03d}/{video_key}/episode_{episode_index:06d}.mp4"
        if pictures == "video"
        else None,
        "features": features,
    }
    (root / "meta/info.json").write_text(json.dumps(about, indent=4))
    return root


def png_column(frames: NDArray[np.uint8]) -> pa.Array:
    import io

    from PIL import Image

    found = []
    for frame in frames:
        file = io.BytesIO()
        Image.fromarray(frame).save(file, "PNG")
        found.append({"bytes": file.getvalue(), "path": None})
    return pa.array(found, pa.struct([("bytes", pa.binary()), ("path", pa.string())]))


@pytest.fixture(scope="session")
def in_v2() -> Callable[..., Path]:
    """Writes datasets of format 2."""
    return write_v2


@pytest.fixture(scope="session")
def converted() -> Callable[[Path], Path]:
    """Converts a dataset of format 2.1 in place by LeRobot's own script."""
    from lerobot.scripts.convert_dataset_v21_to_v30 import convert_dataset

    def convert(root: Path) -> Path:
        convert_dataset("tests/twin", root=root, push_to_hub=False)
        return root

    return convert


def of_format(small_dataset: Path, folder: Path, version: str) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FOREHAND_CACHE", str(folder / "cache"))
        return write_v2(folder / "data", small_dataset, version)


@pytest.fixture(scope="session")
def v21(small_dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three episodes of 7, 5 and 9 frames in format 2.1; nobody may change it."""
    return of_format(small_dataset, tmp_path_factory.mktemp("v21"), "v2.1")


@pytest.fixture(scope="session")
def v20(small_dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same in format 2.0; nobody may change it."""
    return of_format(small_dataset, tmp_path_factory.mktemp("v20"), "v2.0")


@pytest.fixture(scope="session")
def twin(v21: Path, converted: Callable[[Path], Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same, converted to format 3 by LeRobot's script; nobody may change it."""
    return converted(Path(shutil.copytree(v21, tmp_path_factory.mktemp("twin") / "data")))
