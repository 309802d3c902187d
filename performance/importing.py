"""How many frames of CALVIN's size are imported a minute and core, beside LeRobot's own writer on the same files.

    python performance/importing.py [--episodes 6] [--rounds 3] 2> /dev/null   # where encoders say a lot

A split in CALVIN's layout is generated: one npz file a frame with two pictures (200² and 84², moving texture with noise),
depth, tactile pictures and numbers, 64 frames an annotated segment. It is imported by one process, from the first file to
the finished dataset, and the same files are written by LeRobot's ``add_frame`` and ``save_episode``, with its defaults
(AV1) and with H.264, in turns. Seconds of computing (CPU) and of the clock differ: in the latter, others count.
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

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from lerobot.configs import RGBEncoderConfig
from lerobot.datasets.lerobot_dataset import LeRobotDataset

from forehand import Contract
from forehand.data.features import IMAGE_PREFIX, to_features
from forehand.data.importing.job import ImportJob
from forehand.data.importing.run import opened_import

LENGTH = 64  # frames of an annotated segment


def main() -> None:
    """Print frames a minute and core, and the ratios to the baseline."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--episodes", type=int, default=6, help="annotated segments of 64 frames (default: 6)")
    parser.add_argument("--rounds", type=int, default=3, help="how often each writer writes them (default: 3)")
    arguments = parser.parse_args()
    frames = arguments.episodes * LENGTH
    with tempfile.TemporaryDirectory() as folder:
        source = write_source(Path(folder) / "training", arguments.episodes)
        contract = import_split(source, Path(folder) / "warm")
        writers: dict[str, Callable[[Path], object]] = {
            "forehand import calvin": lambda root: import_split(source, root),
            "LeRobot, H.264": lambda root: write_with_lerobot(source, contract, root, RGBEncoderConfig(vcodec="h264")),
            "LeRobot, its defaults (baseline)": lambda root: write_with_lerobot(source, contract, root, None),
        }
        seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in writers}
        for _ in range(arguments.rounds):
            for name, write in writers.items():
                seconds[name].append(timed(write, Path(folder) / "out"))
    print(f"{frames} frames, two pictures of 200² and 84² each, one process; load {os.getloadavg()[0]:.1f} at the end\n")
    print("| writer | frames a minute and core (CPU) | frames a minute (wall clock) | times as fast |")
    print("|---|---:|---:|---:|")
    baseline = statistics.median(cpu for cpu, _ in seconds["LeRobot, its defaults (baseline)"])
    for name, found in seconds.items():
        cpu, wall = (statistics.median(values) for values in zip(*found, strict=True))
        print(f"| {name} | {60 * frames / cpu:.0f} | {60 * frames / wall:.0f} | {baseline / cpu:.1f} |")


def timed(write: Callable[[Path], object], root: Path) -> tuple[float, float]:
    """CPU seconds of this process with its threads and children, and seconds of the clock."""
    before, start = os.times(), time.perf_counter()
    write(root)
    wall, after = time.perf_counter() - start, os.times()
    shutil.rmtree(root)
    return sum(after[:4]) - sum(before[:4]), wall


def import_split(source: Path, root: Path) -> Contract:
    """Import all annotated segments by one process; returns the contract."""
    with opened_import(ImportJob(root, "calvin", {"source": str(source)})) as running:
        list(running.convert(workers=1))
        running.commit({})
        return running.importer.contract


def write_with_lerobot(source: Path, contract: Contract, root: Path, encoder: RGBEncoderConfig | None) -> None:
    """The same frames by LeRobot's own writer."""
    dataset = LeRobotDataset.create("benchmark/calvin", 30, to_features(contract), root=root, rgb_encoder=encoder)
    for number, path in enumerate(sorted(source.glob("episode_*.npz"))):
        with np.load(path) as file:
            state = np.concatenate([file["robot_obs"][:6], file["robot_obs"][14:]]).astype(np.float32)
            pictures = {"static": file["rgb_static"], "wrist": file["rgb_gripper"]}
            dataset.add_frame(
                {IMAGE_PREFIX + name: picture for name, picture in pictures.items()}
                | {"observation.state": state, "action": file["rel_actions"].astype(np.float32), "task": "lift the block"}
            )
        if (number + 1) % LENGTH == 0:
            dataset.save_episode(parallel_encoding=False)
    dataset.finalize()


def write_source(folder: Path, episodes: int) -> Path:
    """Generate the split; returns ``folder``."""
    folder.mkdir()
    generator = np.random.default_rng(0)
    texture = smooth(generator, 400)
    total = episodes * LENGTH
    for number in range(total):
        pose = np.concatenate([np.sin(number / 50 + np.arange(6)) * 0.3, [0.08], np.zeros(7), [1.0]])
        np.savez_compressed(
            folder / f"episode_{number:07d}.npz",
            actions=np.concatenate([pose[:6], [1.0]]),
            rel_actions=np.clip(generator.normal(0, 0.3, 7), -1, 1),
            robot_obs=pose,
            scene_obs=np.zeros(24),
            rgb_static=seen(generator, texture, 200, number),
            rgb_gripper=seen(generator, texture, 84, 2 * number),
            rgb_tactile=generator.integers(0, 256, (160, 120, 6), np.uint8),
            depth_static=generator.random((200, 200), np.float32),
            depth_gripper=generator.random((84, 84), np.float32),
            depth_tactile=generator.random((160, 120, 2), np.float32),
        )
    np.save(folder / "ep_start_end_ids.npy", np.array([[0, total - 1]]))
    spans = [(first, first + LENGTH - 1) for first in range(0, total, LENGTH)]
    words = ["lift the block"] * episodes
    (folder / "lang_annotations").mkdir()
    content = {"language": {"ann": words, "task": words}, "info": {"indx": spans}}
    np.save(folder / "lang_annotations/auto_lang_ann.npy", content, allow_pickle=True)  # type: ignore[arg-type]
    return folder


def smooth(generator: np.random.Generator, size: int) -> np.ndarray:
    """(size, size, 3) levels of a texture with the spectrum of natural pictures, 1 / frequency."""
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(size), np.fft.fftfreq(size)))
    spectrum = generator.normal(size=(3, size, size)) + 1j * generator.normal(size=(3, size, size))
    levels = np.fft.ifft2(spectrum / np.maximum(frequency, 1 / size)).real
    levels = (levels - levels.min()) / (levels.max() - levels.min())
    return np.moveaxis(levels * 255, 0, -1)


def seen(generator: np.random.Generator, texture: np.ndarray, size: int, shift: int) -> np.ndarray:
    """(size, size, 3) uint8: a part of the texture that moves by a pixel a step, with noise of a camera."""
    first = shift % (len(texture) - size)
    part = texture[first : first + size, first : first + size]
    return np.clip(part + generator.normal(0, 2, part.shape), 0, 255).astype(np.uint8)


if __name__ == "__main__":
    main()
