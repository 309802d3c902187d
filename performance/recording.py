"""How many frames a minute are recorded, beside LeRobot's own recorder on the same frames.

    python performance/recording.py [--image-size 128] [--workers 2] 2> /dev/null   # where encoders say a lot

First the recorder alone: an expert's episodes at the chains' table, simulated beforehand, are written by
:class:`forehand.data.recording.recorder.Recorder` and by LeRobot's ``add_frame`` and ``save_episode``, with its defaults
(AV1) and with H.264 as ours; from the first frame to the finished dataset, one process each, in turns. Then the whole
command with simulator and experts, from its first episode to the finished dataset.
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

import numpy as np
from lerobot.configs import RGBEncoderConfig
from lerobot.datasets.lerobot_dataset import LeRobotDataset

from forehand import Contract, Observation, registry
from forehand.data.demonstrations.parallel import ParallelRecorder, RecordingJob
from forehand.data.features import IMAGE_PREFIX, read_info, to_features
from forehand.data.recording.commit import commit_episodes, recording_lock, require_same_contract
from forehand.data.recording.recorder import Recorder
from forehand.data.recording.requirements import integer_rate

NAME = "tabletop-chains"
Shown = list[tuple[Observation, np.ndarray]]


def main() -> None:
    """Print frames a minute, and the ratios to the baseline."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--episodes", type=int, default=8, help="that the recorders write (default: 8)")
    parser.add_argument("--rounds", type=int, default=3, help="how often each of them does (default: 3)")
    parser.add_argument("--image-size", type=int, default=128, help="pixels (default: 128)")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="of the command (default: CPU cores)")
    parser.add_argument("--commanded", type=int, default=192, help="episodes that the command records (default: 192)")
    arguments = parser.parse_args()

    contract, shown = show(arguments.episodes, arguments.image_size)
    frames = sum(map(len, shown))
    recorders: dict[str, Callable[[Path], None]] = {
        "ours": lambda root: with_ours(root, contract, shown),
        "LeRobot, H.264": lambda root: with_lerobot(root, contract, shown, RGBEncoderConfig(vcodec="h264")),
        "LeRobot, its defaults (baseline)": lambda root: with_lerobot(root, contract, shown, None),
    }
    seconds: dict[str, list[float]] = {name: [] for name in recorders}
    for _ in range(arguments.rounds):
        for name, write in recorders.items():
            seconds[name].append(timed(write))
    baseline = statistics.median(seconds["LeRobot, its defaults (baseline)"])
    print(f"{frames} frames of two {arguments.image_size}² cameras in {len(shown)} episodes, one process each")
    for name, taken in seconds.items():
        median = statistics.median(taken)
        print(f"  {name:34s} {60 * frames / median:8.0f} frames/min   {baseline / median:5.1f} times the baseline")

    rate, recorded = command(arguments.commanded, arguments.image_size, arguments.workers)
    print(f"the whole command, {arguments.workers} workers, {recorded} frames: {rate:.0f} frames/min")


def show(episodes: int, image_size: int) -> tuple[Contract, list[Shown]]:
    """What an expert sees and does in each episode."""
    robot = registry().create("robot", NAME, image_size=image_size)
    benchmark = registry().create("benchmark", NAME, variant="A", sentences="train")
    robot.connect()
    shown = []
    for episode in benchmark.episodes(episodes, 0):
        steps: Shown = []
        observation = robot.reset(episode)
        expert = benchmark.expert(robot, episode, episode.seed)
        while not observation.success and len(steps) < episode.max_steps:
            action = expert.act()
            steps.append((observation, action))
            observation = robot.step(action)
        shown.append(steps)
    robot.close()
    return robot.contract, shown


def with_ours(root: Path, contract: Contract, shown: list[Shown]) -> None:
    """Our recorder, up to the finished dataset."""
    with recording_lock(root):
        require_same_contract(root, contract)
        recorder = Recorder(root, contract)
        for index, steps in enumerate(shown):
            for observation, action in steps:
                recorder.add(observation, action, {"phase": "some"})
            recorder.save(index, "do something")
        commit_episodes(root)


def with_lerobot(root: Path, contract: Contract, shown: list[Shown], encoder: RGBEncoderConfig | None) -> None:
    """LeRobot's own."""
    rate = integer_rate(contract)
    dataset = LeRobotDataset.create("benchmark/frames", rate, to_features(contract), root=root, rgb_encoder=encoder)
    for steps in shown:
        for observation, action in steps:
            images = {IMAGE_PREFIX + name: image for name, image in observation.images.items()}
            dataset.add_frame(
                {**images, "observation.state": observation.state, "action": action, "task": "do something"}
            )
        dataset.save_episode()
    dataset.finalize()


def timed(write: Callable[[Path], None]) -> float:
    """Seconds that it takes."""
    folder = Path(tempfile.mkdtemp())
    started = time.perf_counter()
    write(folder / "data")
    taken = time.perf_counter() - started
    shutil.rmtree(folder)
    return taken


def command(episodes: int, image_size: int, workers: int) -> tuple[float, int]:
    """Frames a minute of ``forehand record``, once its workers are there; and how many it recorded."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "data"
        options = {"image_size": image_size}, {"variant": "ABC", "sentences": "train"}
        assignment = RecordingJob(root, NAME, NAME, episodes, 0, *options)
        with recording_lock(root), ParallelRecorder(assignment, range(episodes), workers) as crew:
            started = time.perf_counter()
            require_same_contract(root, crew.contract)
            for _ in crew.record():
                pass
            commit_episodes(root, NAME)
            taken = time.perf_counter() - started
        frames = int(read_info(root)["total_frames"])
    return 60 * frames / taken, frames


if __name__ == "__main__":
    main()
