"""How many windows a second the frame stores give, beside LeRobot's loader on the same recording.

    taskset -c 0 python performance/frames.py [--size 224] [--codec h264] 2> /dev/null

A window has 11 frames of two cameras, its states and actions, in batches of 16, drawn at random. Everything is warm:
frames are decoded where a store keeps them, files are in memory, and videos are open. The loaders take turns. Windows are
counted by the second of processor time of all threads, so that a busy machine counts less, and by the clock. LeRobot's
loader works in this process as ours do, and gives uint8, by each of its decoders.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from lerobot.configs import RGBEncoderConfig
from lerobot.datasets.lerobot_dataset import LeRobotDataset
from torch.utils.data import DataLoader

from forehand import Camera, Contract, Field, registry
from forehand.data.dataset import Dataset
from forehand.data.features import to_features
from forehand.data.frame_store import FrameStore
from forehand.data.window_spec import WindowSpec
from forehand.data.windows import WindowDataset

CAMERAS, FRAMES, BATCH = ("static", "wrist"), 11, 16
RATE, EPISODE = 15, 200


def main() -> None:
    """Print windows a second, the ratios to LeRobot's loader, and bytes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=224, help="pixels, of the recording and of windows (default: 224)")
    parser.add_argument("--codec", default="h264", help="of the recording: h264, or LeRobot's libsvtav1 (default: h264)")
    parser.add_argument("--episodes", type=int, default=30, help="of 200 frames (default: 30)")
    parser.add_argument("--batches", type=int, default=8, help="in a turn; raw takes ten times as many (default: 8)")
    parser.add_argument("--rounds", type=int, default=3, help="turns (default: 3)")
    arguments = parser.parse_args()

    torch.set_num_threads(1)
    folder = Path(tempfile.mkdtemp())
    root = record(folder / "data", arguments.episodes, arguments.size, arguments.codec)
    data = Dataset.open(root)
    offsets = range(1 - FRAMES, 1)
    spec = WindowSpec(
        observation={**{f"images.{camera}": offsets for camera in CAMERAS}, "state": offsets},
        target={"action": offsets},
        image_size=arguments.size,
    )
    loaders: dict[str, Callable[[int], None]] = {}
    quality = FrameStore().quality
    qualities = {"raw": quality, f"jpeg, quality {quality}": quality, "jpeg, quality 95": 95, "video": quality}
    for name, used in qualities.items():
        store = FrameStore(name.partition(",")[0], used, workers=1)
        windows = WindowDataset(data, spec, frames=store, cache=folder / "cache")
        loaders[name] = lambda count, windows=windows: ours(windows, count)
    for backend in ("pyav", "torchcodec"):
        loaders[f"LeRobot, {backend}"] = theirs(root, RATE, backend)

    speeds: dict[str, list[tuple[float, float]]] = {name: [] for name in loaders}
    for load in loaders.values():
        load(2)
    for _ in range(arguments.rounds):
        for name, load in loaders.items():
            count = arguments.batches * (10 if name == "raw" else 1)
            speeds[name].append(timed(load, count))

    print(
        f"{len(data.episodes)} frames of two {arguments.size}² cameras, {arguments.codec}; windows of {FRAMES} frames × "
        f"2 cameras; load {os.getloadavg()[0]:.1f}"
    )
    median = {name: tuple(map(statistics.median, zip(*found, strict=True))) for name, found in speeds.items()}
    for name, (by_processor, by_clock) in median.items():
        ratios = [by_processor / median[f"LeRobot, {backend}"][0] for backend in ("pyav", "torchcodec")]
        print(
            f"  {name:20s} {by_processor:8.1f} windows/s a core, {by_clock:8.1f} by the clock, "
            f"{ratios[0]:6.1f} × LeRobot with PyAV, {ratios[1]:6.1f} × with torchcodec"
        )
    ends = (".npy", f"jpeg{quality}/*.jpegs", ".mp4")
    raw, jpeg, video = (sum(f.stat().st_size for f in folder.rglob(f"*{end}")) for end in ends)
    print(
        f"  raw {raw / 1e6:.0f} MB; jpeg {jpeg / 1e6:.1f} MB, {raw / jpeg:.1f} times smaller; videos {video / 1e6:.1f} MB"
    )
    print(f"  jpeg of quality {quality}: error {errors(data, spec, folder / 'cache')}")
    shutil.rmtree(folder)


def record(root: Path, episodes: int, size: int, codec: str) -> Path:
    """Episodes of 200 frames, written by LeRobot: what an expert at the chains' table sees, drifting, with noise.

    The noise, of a standard deviation of 2 levels, and the drift keep pictures from being easier than those of a lens.
    """
    shown, random = rendered(size, 60), np.random.default_rng(0)
    dataset = LeRobotDataset.create(
        "benchmark/frames", RATE, to_features(contract(size)), root=root, rgb_encoder=RGBEncoderConfig(vcodec=codec)
    )
    for episode in range(episodes):
        for number in range(EPISODE):
            pictures = shown[(number + 7 * episode) % len(shown)]
            images = {
                f"observation.images.{name}": np.clip(
                    np.roll(picture, (number // 3, number // 2), axis=(0, 1)) + random.normal(0, 2, picture.shape), 0, 255
                ).astype(np.uint8)
                for name, picture in pictures.items()
            }
            numbers = {key: random.normal(size=7).astype(np.float32) for key in ("observation.state", "action")}
            dataset.add_frame({**images, **numbers, "task": "do something"})
        dataset.save_episode()
    dataset.finalize()
    return root


def contract(size: int) -> Contract:
    """Two cameras, and vectors of seven numbers."""
    return Contract(
        cameras=tuple(Camera(name, size, size, name) for name in CAMERAS),
        state=(Field("joints", 7, unit="rad"),),
        action=(Field("joints", 7, unit="rad", mode="absolute"),),
        rate=float(RATE),
    )


def rendered(size: int, count: int) -> list[dict[str, np.ndarray]]:
    """What the cameras see while an expert acts."""
    robot = registry().create("robot", "tabletop-chains", image_size=size)
    benchmark = registry().create("benchmark", "tabletop-chains", variant="A", sentences="train")
    robot.connect()
    shown: list[dict[str, np.ndarray]] = []
    for episode in benchmark.episodes(count, 0):
        observation = robot.reset(episode)
        expert = benchmark.expert(robot, episode, episode.seed)
        for _ in range(episode.max_steps):
            shown.append(dict(observation.images))
            observation = robot.step(expert.act())
            if observation.success or len(shown) == count:
                break
        if len(shown) == count:
            break
    robot.close()
    return shown


def ours(windows: WindowDataset, count: int) -> None:
    """Draw ``count`` batches."""
    draw = np.random.default_rng(0)
    for _ in range(count):
        windows.batch(draw.integers(0, len(windows), BATCH))


def theirs(root: Path, rate: float, backend: str) -> Callable[[int], None]:
    """LeRobot's loader, in this process."""
    offsets = [offset / rate for offset in range(1 - FRAMES, 1)]
    keys = [*(f"observation.images.{camera}" for camera in CAMERAS), "observation.state", "action"]
    dataset = LeRobotDataset(
        "benchmark/frames",
        root=root,
        delta_timestamps=dict.fromkeys(keys, offsets),
        video_backend=backend,
        return_uint8=True,
    )
    order: Any = torch.utils.data.RandomSampler(dataset, replacement=True, num_samples=10**6)
    batches = iter(DataLoader(dataset, BATCH, sampler=order))

    def load(count: int) -> None:
        for _ in range(count):
            next(batches)

    return load


def timed(load: Callable[[int], None], count: int) -> tuple[float, float]:
    """Windows by the second of processor time, and by that of the clock."""
    begun, clock = time.process_time(), time.perf_counter()
    load(count)
    return BATCH * count / (time.process_time() - begun), BATCH * count / (time.perf_counter() - clock)


def errors(data: Dataset, spec: WindowSpec, cache: Path) -> str:
    """How far frames of the JPEG store are from those of the raw store."""
    some = np.random.default_rng(1).integers(0, len(data.episodes), 16)
    raw, jpeg = (
        WindowDataset(data, spec, frames=store, cache=cache).batch(some)["observation"] for store in ("raw", "jpeg")
    )
    far = torch.cat([(raw[f"images.{c}"].float() - jpeg[f"images.{c}"].float()).flatten() for c in CAMERAS])
    return (
        f"{float(far.abs().mean()):.2f} levels in the mean, PSNR {10 * np.log10(255**2 / float((far**2).mean())):.1f} dB"
    )


if __name__ == "__main__":
    main()
