"""How many windows a second Seer trains with the features of its frozen tower kept on disk, beside computing them.

    OMP_NUM_THREADS=1 python performance/cached_features.py 2> /dev/null

One policy at full size (``seer_calvin``, random weights, no shift), AdamW, windows of a LeRobotDataset on disk, which are
read within the measured time; with features, they are read beside the images (``forehand train cache_features=true``).
Both take turns in one process; in evaluation mode they must come to the same loss, up to the features' half precision.
Windows are counted by the clock and by the second of processor time, so that a busy machine counts less. The dataset is
one short episode: computing its features, which is done once, is measured beside.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import numpy as np
import torch
from lerobot.configs import RGBEncoderConfig
from lerobot.datasets.lerobot_dataset import LeRobotDataset
from plain_seer import CONTRACT, make_policy

from forehand.data.dataset import Dataset
from forehand.data.features import to_features
from forehand.data.sampling import ShuffledBatches
from forehand.data.windows import WindowDataset
from forehand.learning.recipe import Recipe
from forehand.learning.trainer import Trainer, to_device

SHARED = ("+policy.towers.mae={name: seer/mae_vit}", "policy.encoders.cameras.tower=mae", "policy.random_shift=null")
FRAMES = 20


def main() -> None:
    """Print windows a second without and with features on disk, and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="seer_calvin", help="of Seer (default: seer_calvin)")
    parser.add_argument("--batch", type=int, default=2, help="windows a step (default: 2)")
    parser.add_argument("--rounds", type=int, default=3, help="turns (default: 3)")
    parser.add_argument("overrides", nargs="*", help="of the preset's configuration, as in policy.backbone.layers=2")
    options = parser.parse_args()

    policy = make_policy(options.preset, [*SHARED, *options.overrides], "cpu")
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        data = Dataset.open(record(folder / "data"))
        plain, cached = (WindowDataset(data, policy.window, cache=folder / "cache") for _ in range(2))
        before = time.process_time()
        cached.add_features(policy.frozen_features(), folder / "cache")
        once = time.process_time() - before
        policy.eval()
        with torch.no_grad():
            torch.testing.assert_close(policy(cached.batch([0]))[0], policy(plain.batch([0]))[0], rtol=1e-3, atol=1e-3)
        recipe = Recipe(steps=10**6, batch_size=options.batch, learning_rate=1e-4, seed=0, max_grad_norm=0.1)
        trainer = Trainer(policy.train(), plain.batch, recipe, folder, config={}, statistics={}, facts={})
        order = ShuffledBatches(len(plain), options.batch, recipe.seed)
        runs = {"computed": plain, "on disk": cached}
        taken: dict[str, list[tuple[float, float]]] = {name: [] for name in runs}
        for number in range(-1, options.rounds):
            for name, windows in runs.items():
                clock, processor = time.perf_counter(), time.process_time()
                trainer._update(iter([to_device(windows.batch(order.at(max(number, 0))), trainer.device)]))
                if number >= 0:
                    taken[name].append((time.perf_counter() - clock, time.process_time() - processor))

    threads = torch.get_num_threads()
    print(f"{options.preset}, {options.batch} windows a step, {threads} threads; load {os.getloadavg()[0]:.1f}")
    for name, found in taken.items():
        by_clock, by_processor = (options.batch / statistics.median(times) for times in zip(*found, strict=True))
        print(f"  features {name:9s} {by_clock:8.3f} windows/s by the clock, {by_processor:8.3f} by processor time")
    pairs = list(zip(taken["computed"], taken["on disk"], strict=True))
    by_clock, by_processor = (statistics.median(a[kind] / b[kind] for a, b in pairs) for kind in (0, 1))
    print(f"on disk: {by_clock:.2f} times as fast by the clock, {by_processor:.2f} by processor time")
    images = len(data.episodes) * len(CONTRACT.cameras)
    print(f"once, beforehand: {once / images * 1e3:.0f} ms of processor time an image", flush=True)


def record(root: Path) -> Path:
    """An episode of :data:`FRAMES` frames of noise, written by LeRobot."""
    random = np.random.default_rng(0)
    dataset = LeRobotDataset.create(
        "benchmark/features", 30, to_features(CONTRACT), root=root, rgb_encoder=RGBEncoderConfig(vcodec="h264")
    )
    for _ in range(FRAMES):
        images = {
            f"observation.images.{c.name}": random.integers(0, 256, (c.height, c.width, 3), np.uint8)
            for c in CONTRACT.cameras
        }
        numbers = {key: random.uniform(-1, 1, 7).astype(np.float32) for key in ("observation.state", "action")}
        dataset.add_frame({**images, **numbers, "task": "do something"})
    dataset.save_episode()
    dataset.finalize()
    return root


if __name__ == "__main__":
    main()
