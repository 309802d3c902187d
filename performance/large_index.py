"""How long a dataset of DROID's size takes to open, how much memory, and whether its batches stay as fast.

    python performance/large_index.py [--format 3.0|2.1] [--episodes 76000] [--frames 27000000] [--batches 10000]

Tables of that many episodes and frames with states and actions of seven numbers are written to a folder; one small video
stands for those of three cameras, by hard links. In format 2.1 each episode has a table and videos of its own. Then a
process of its own opens the dataset, makes windows from the store ``video``, and draws batches of two windows of four
frames of each camera at random.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from forehand.utils.video import Encoding, VideoWriter

CAMERAS = ("exterior_1_left", "exterior_2_left", "wrist_left")
RATE, HEIGHT, WIDTH, NUMBERS = 15, 96, 128, 7
EPISODES_IN_VIDEO = 100
ROWS_IN_FILE = 200_000
TASKS, TASK = 100, "do the thing number {}"


def main() -> None:
    """Write the dataset, and print what opening it takes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--format", choices=("3.0", "2.1"), default="3.0")
    parser.add_argument("--episodes", type=int, default=76_000)
    parser.add_argument("--frames", type=int, default=27_000_000)
    parser.add_argument("--batches", type=int, default=10_000)
    parser.add_argument("--folder", type=Path, help="where the dataset is written and kept (default: it is removed)")
    parser.add_argument("--opened", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.opened:
        read(arguments.folder, arguments.batches)
        return
    folder = arguments.folder or Path(tempfile.mkdtemp())
    if not (folder / "meta/info.json").exists():
        started = time.perf_counter()
        make = write if arguments.format == "3.0" else write_by_episode
        make(folder, arguments.episodes, arguments.frames // arguments.episodes)
        print(f"written in {time.perf_counter() - started:.0f} s", flush=True)
    words = [sys.executable, __file__, "--opened", "--folder", str(folder), "--batches", str(arguments.batches)]
    subprocess.run(words, check=True)
    if arguments.folder is None:
        shutil.rmtree(folder)


def write(root: Path, episodes: int, length: int) -> None:
    """A LeRobotDataset of format 3 with ``episodes`` of ``length`` frames."""
    info = metadata(episodes, length) | {
        "codebase_version": "v3.0",
        "data_path": "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet",
        "video_path": "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4",
    }
    for name in ("meta/episodes/chunk-000", "data/chunk-000"):
        (root / name).mkdir(parents=True, exist_ok=True)
    write_tables(root, episodes, length)
    tasks = {"task_index": np.arange(TASKS), "task": [TASK.format(i) for i in range(TASKS)]}
    pq.write_table(pa.table(tasks), root / "meta/tasks.parquet")
    number = np.arange(episodes)
    rows = {
        "episode_index": number,
        "length": np.full(episodes, length),
        "dataset_from_index": number * length,
        "dataset_to_index": (number + 1) * length,
    }
    for camera in CAMERAS:
        key = f"videos/observation.images.{camera}"
        rows |= {
            f"{key}/chunk_index": number // EPISODES_IN_VIDEO // 1000,
            f"{key}/file_index": number // EPISODES_IN_VIDEO % 1000,
        }
        rows |= {f"{key}/from_timestamp": (number % EPISODES_IN_VIDEO) * length / RATE}
    pq.write_table(pa.table(rows), root / "meta/episodes/chunk-000/file-000.parquet")
    link_videos(root, episodes, length)
    (root / "meta/info.json").write_text(json.dumps(info))


def metadata(episodes: int, length: int) -> dict[str, object]:
    """What ``info.json`` of each format says."""
    features: dict[str, object] = {
        f"observation.images.{camera}": {"dtype": "video", "shape": [HEIGHT, WIDTH, 3], "names": None}
        for camera in CAMERAS
    }
    for key in ("observation.state", "action"):
        features[key] = {"dtype": "float32", "shape": [NUMBERS], "names": None}
    return {
        "fps": RATE,
        "total_episodes": episodes,
        "total_frames": episodes * length,
        "total_tasks": TASKS,
        "features": features,
    }


def write_by_episode(root: Path, episodes: int, length: int) -> None:
    """A LeRobotDataset of format 2.1 with ``episodes`` of ``length`` frames."""
    (root / "meta").mkdir(parents=True, exist_ok=True)
    made, one = write_video(root, length), root / "linked.mp4"
    for number in range(episodes):
        chunk = f"chunk-{number // 1000:03d}"
        if number % 1000 == 0:
            one.unlink(missing_ok=True)
            shutil.copyfile(made, one)  # a file has 65,000 links at most
            for folder in (f"data/{chunk}", *(f"videos/{chunk}/observation.images.{camera}" for camera in CAMERAS)):
                (root / folder).mkdir(parents=True, exist_ok=True)
        table = frames(np.arange(number * length, (number + 1) * length), length)
        pq.write_table(table, root / f"data/{chunk}/episode_{number:06d}.parquet")
        for camera in CAMERAS:
            os.link(one, root / f"videos/{chunk}/observation.images.{camera}/episode_{number:06d}.mp4")
    one.unlink()
    made.unlink()
    stats = {
        key: {name: [0.5] * NUMBERS for name in ("mean", "std", "min", "max")} | {"count": [length]}
        for key in ("observation.state", "action")
    }
    stats |= {
        f"observation.images.{camera}": {n: [[[0.5]]] * 3 for n in ("mean", "std", "min", "max")} | {"count": [100]}
        for camera in CAMERAS
    }
    lines: dict[str, list[dict[str, object]]] = {
        "tasks": [{"task_index": n, "task": TASK.format(n)} for n in range(TASKS)],
        "episodes": [{"episode_index": n, "tasks": [TASK.format(n % TASKS)], "length": length} for n in range(episodes)],
        "episodes_stats": [{"episode_index": n, "stats": stats} for n in range(episodes)],
    }
    for name, rows in lines.items():
        (root / f"meta/{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    info = metadata(episodes, length) | {
        "codebase_version": "v2.1",
        "chunks_size": 1000,
        "total_chunks": -(-episodes // 1000),
        "total_videos": episodes * len(CAMERAS),
        "data_path": "data/chunk-{episode_chunk:03d}/episode_{episode_index:06d}.parquet",
        "video_path": "videos/chunk-{episode_chunk:03d}/{video_key}/episode_{episode_index:06d}.mp4",
    }
    (root / "meta/info.json").write_text(json.dumps(info))


def write_tables(root: Path, episodes: int, length: int) -> None:
    """The numbers of all frames."""
    for file, first in enumerate(range(0, episodes * length, ROWS_IN_FILE)):
        index = np.arange(first, min(first + ROWS_IN_FILE, episodes * length))
        pq.write_table(frames(index, length), root / f"data/chunk-000/file-{file:03d}.parquet")


def frames(index: np.ndarray, length: int) -> pa.Table:
    """The numbers of the frames ``index``."""
    random = np.random.default_rng(int(index[0]))
    vectors = {
        key: pa.FixedSizeListArray.from_arrays(random.random(len(index) * NUMBERS, np.float32), NUMBERS)
        for key in ("observation.state", "action")
    }
    counted = {
        "timestamp": (index % length / RATE).astype(np.float32),
        "frame_index": index % length,
        "episode_index": index // length,
        "index": index,
        "task_index": index // length % TASKS,
    }
    return pa.table({**vectors, **counted})


def link_videos(root: Path, episodes: int, length: int) -> None:
    """One video under the names of all."""
    one = write_video(root, EPISODES_IN_VIDEO * length)
    for camera in CAMERAS:
        for file in range(-(-episodes // EPISODES_IN_VIDEO)):
            path = root / f"videos/observation.images.{camera}/chunk-{file // 1000:03d}/file-{file % 1000:03d}.mp4"
            path.parent.mkdir(parents=True, exist_ok=True)
            os.link(one, path)
    one.unlink()


def write_video(root: Path, length: int) -> Path:
    """A video of so many frames."""
    one = root / "one.mp4"
    writer = VideoWriter(one, RATE, HEIGHT, WIDTH, Encoding())
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    for number in range(length):
        writer.write(np.stack([rows + number, columns + 2 * number, rows + columns], axis=-1).astype(np.uint8))
    writer.close()
    return one


def read(root: Path, batches: int) -> None:
    """Open the dataset, and draw batches; print seconds and memory."""
    import torch

    from forehand.data.dataset import Dataset
    from forehand.data.sampling import ShuffledBatches
    from forehand.data.windows import WindowDataset

    torch.set_num_threads(1)
    print(f"before: {memory()}", flush=True)
    clock = Clock()
    data = Dataset.open(root)
    print(f"tables {clock}; {memory()}", flush=True)
    assert data.statistics["action"]
    print(f"with statistics {clock}; {memory()}", flush=True)
    windows = WindowDataset(data, history=4, chunk=4, horizons=None, frames="video")
    print(f"opened: {len(windows)} windows {clock}; {memory()}", flush=True)
    clock = Clock()
    order = ShuffledBatches(len(windows), 2, 0)
    windows.batch(order.at(0))
    print(f"first batch {clock}; {memory()}", flush=True)
    part = max(batches // 5, 1)
    for first in range(1, batches, part):
        clock, count = Clock(), min(part, batches - first)
        for step in range(first, first + count):
            windows.batch(order.at(step))
        print(f"{count} batches {clock}; {memory()}", flush=True)
    print(f"load {os.getloadavg()[0]:.1f}")


class Clock:
    """Seconds since it was made, by the clock and of the processor."""

    def __init__(self) -> None:
        self.begun = time.perf_counter(), time.process_time()

    def __str__(self) -> str:
        return f"{time.perf_counter() - self.begun[0]:.1f} s, {time.process_time() - self.begun[1]:.1f} of the processor"


def memory() -> str:
    """Resident memory, of that the part which files back and the system may take back, and the most there ever was."""
    fields = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    total, files = (int(fields[name].split()[0]) / 1e6 for name in ("VmRSS", "RssFile"))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    return f"resident {total:.2f} GB ({files:.2f} GB of files), at most {peak:.2f} GB"


if __name__ == "__main__":
    main()
