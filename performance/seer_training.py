"""How long a training step of Seer takes, beside a plain implementation, at equal batch.

Both take turns in one process, with the same weights (random), recipe (AdamW, gradient norm, dropout, random shifts)
and batch of windows, and in evaluation mode must come to the same loss. A step is forward, backward, clipping and
update. Ours is what ``forehand train`` does with a batch; what plain means: see plain_seer.py. The plain implementation
is measured twice: encoding every frame that a window holds (history + k of both cameras), and those alone that are
inputs, which is what the released training computes; it has its tower in bfloat16, and ``--tower`` sets that of all
three. Then, by stage of the forward pass, where the time goes; the memory of the first step at its peak, beyond the
weights (each in a process of its own); and the floor: operations counted in our step, over the rate that a large matrix
product reaches here.

    OMP_NUM_THREADS=2 python performance/seer_training.py
    OMP_NUM_THREADS=2 python performance/seer_training.py --tower bfloat16    as the published recipes have it
    python performance/seer_training.py --device cuda --batch 32 --precision bfloat16 --compile
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from plain_seer import (
    CONTRACT,
    PlainSeer,
    Stopwatch,
    make_policy,
    matrix_rate,
    operations,
    peak_memory,
    require_device,
    watch_stages,
)
from torch import Tensor

from forehand.compose import ComposedPolicy
from forehand.learning.recipe import Recipe
from forehand.learning.trainer import Trainer, to_device

STAGES = ("tower", "resampler", "backbone", "foresight and heads", "backward and else")


def window(policy: ComposedPolicy, batch: int, device: str) -> dict[str, Any]:
    """Random windows, all of whose timesteps count."""
    about = policy.window
    torch.manual_seed(1)
    steps, chunk, size = about["history"], about["chunk"], about["image_size"]

    def images() -> Tensor:
        return torch.randint(0, 256, (batch, steps, size, size, 3), dtype=torch.uint8)

    made: dict[str, Any] = {
        "observation": {
            **{f"images.{camera}": images() for camera in about["cameras"]},
            "state": torch.randn(batch, steps, CONTRACT.state_size),
            "instruction": [f"lift block {i}" for i in range(batch)],
        },
        "target": {
            **{f"future.{camera}": images() for camera in about["cameras"]},
            "actions": torch.rand(batch, steps, chunk, CONTRACT.action_size) * 2 - 1,
            "valid": torch.ones(batch, steps, dtype=torch.bool),
            "future_valid": torch.ones(batch, steps, dtype=torch.bool),
            "actions_valid": torch.ones(batch, steps, chunk, dtype=torch.bool),
        },
    }
    moved: dict[str, Any] = to_device(made, torch.device(device))
    return moved


class Ours:
    """The trainer of ``forehand train``."""

    def __init__(self, options: argparse.Namespace, policy: ComposedPolicy, batch: dict[str, Any]) -> None:
        recipe = Recipe(
            steps=10**6,
            batch_size=options.batch,
            learning_rate=1e-4,
            seed=0,
            max_grad_norm=0.1,
            precision=options.precision,
            compile=options.compile,
        )
        folder = Path(tempfile.mkdtemp())
        self.batch = batch
        self.trainer = Trainer(policy, lambda _: batch, recipe, folder, config={}, statistics={}, facts={})
        if options.compile:
            self.trainer._compile()

    def step(self) -> None:
        self.trainer._update(iter([self.batch]))


class Plain:
    """What one writes first: zero_grad, forward, backward, clip, step."""

    def __init__(self, seer: PlainSeer, batch: dict[str, Any], all_frames: bool) -> None:
        self.seer, self.batch, self.all_frames = seer, batch, all_frames
        self.parameters = [p for p in seer.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(self.parameters, 1e-4, weight_decay=1e-4)

    def step(self) -> None:
        self.optimizer.zero_grad()
        self.seer.all_frames = self.all_frames
        self.seer(self.batch)[0].backward()
        torch.nn.utils.clip_grad_norm_(self.parameters, 0.1)
        self.optimizer.step()


def set_tower(policy: ComposedPolicy, precision: str) -> None:
    cameras: Any = policy.encoders["cameras"]
    cameras.tower.precision = precision


def measure_peak(options: argparse.Namespace) -> None:
    policy = make_policy(options.preset, options.overrides, options.device).train()
    set_tower(policy, options.tower)
    batch = window(policy, options.batch, options.device)
    seer = PlainSeer(policy, Stopwatch(options.device))
    run = Ours(options, policy, batch) if options.peak == "ours" else Plain(seer, batch, options.peak == "plain")
    print(peak_memory(options.device, run.step))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="seer_calvin", help="of Seer (default: seer_calvin)")
    parser.add_argument("--device", default="cpu", help="cpu or cuda (default: cpu)")
    parser.add_argument("--batch", type=int, default=1, help="windows a step (default: 1)")
    parser.add_argument("--precision", default="float32", help="of ours: float32 (default) or bfloat16")
    parser.add_argument(
        "--tower", default="float32", help="precision of the frozen tower in all runs: float32 (default) or bfloat16"
    )
    parser.add_argument("--compile", action="store_true", help="ours with torch.compile")
    parser.add_argument("--rounds", type=int, default=3, help="repetitions of each measurement (default: 3)")
    parser.add_argument("--peak", choices=("ours", "plain", "plain, inputs alone"), help=argparse.SUPPRESS)
    parser.add_argument("overrides", nargs="*", help="of the preset's configuration, as in policy.backbone.layers=2")
    options = parser.parse_args()
    require_device(options.device)
    if options.peak:
        measure_peak(options)
        return

    device = options.device
    policy = make_policy(options.preset, options.overrides, device)
    batch = window(policy, options.batch, device)
    watch = Stopwatch(device)
    seer = PlainSeer(policy, watch)
    with torch.no_grad():
        policy.eval()
        torch.testing.assert_close(policy(batch)[0], seer.eval()(batch)[0], rtol=1e-4, atol=1e-4)
    seer.train()
    set_tower(policy, options.tower)
    machine = f"{torch.get_num_threads()} threads" if device == "cpu" else torch.cuda.get_device_name()
    how = f"{options.precision}, all towers {options.tower}{', compiled' if options.compile else ''}"
    print(f"{options.preset}, {options.batch} windows a step, ours {how}; {platform.machine()}, {machine}")

    runs = {
        "ours": Ours(options, policy, batch),
        "plain": Plain(seer, batch, True),
        "plain, inputs alone": Plain(seer, batch, False),
    }
    watch_stages(policy, ours_watch := Stopwatch(device))
    taken: dict[str, list[float]] = {name: [] for name in runs}
    stages: dict[str, list[dict[str, float]]] = {name: [] for name in runs}
    for number in range(-1, options.rounds):
        for name, run in runs.items():
            if number < 0 and name != "ours":
                continue  # plain needs no warming up: it is the same kernels
            used = ours_watch if name == "ours" else watch
            used.seconds.clear()
            start = used.now()
            run.step()
            whole = used.now() - start
            if number >= 0:
                taken[name].append(whole)
                stages[name].append({**used.seconds, "backward and else": whole - sum(used.seconds.values())})

    print(f"\n{'median of ' + str(options.rounds):28}" + "".join(f"{name:>22}" for name in runs))
    print(f"{'a step':28}" + "".join(f"{statistics.median(t) * 1e3:19.0f} ms" for t in taken.values()))
    ratios = [statistics.median(b / a for a, b in zip(taken["ours"], t, strict=True)) for t in taken.values()]
    print(f"{'ratio to ours':28}" + "".join(f"{ratio:22.2f}" for ratio in ratios))
    for stage in STAGES:
        medians = [statistics.median(found.get(stage, 0.0) for found in stages[name]) for name in runs]
        print(f"{stage:28}" + "".join(f"{median * 1e3:19.0f} ms" for median in medians))

    seen = {key: value.flatten(0, 1) for key, value in batch["observation"].items() if key.startswith("images.")}
    cameras: Any = policy.encoders["cameras"]
    needed = {
        "all else": operations(runs["ours"].step),
        "tower": operations(lambda: cameras.tower(torch.cat([*seen.values()]))),
    }
    needed["all else"] -= needed["tower"]
    precision = {"all else": options.precision, "tower": "bfloat16" if "bfloat16" in how else "float32"}
    rates = {part: matrix_rate(device, precision[part]) for part in needed}
    floor, step = sum(needed[part] / rates[part] for part in needed), statistics.median(taken["ours"])
    parts = " and ".join(f"{needed[part] / 1e9:.0f} GFLOP at {rates[part] / 1e9:.0f} GFLOP/s ({part})" for part in needed)
    print(
        f"\nfloor: {parts} is {floor * 1e3:.0f} ms; a step takes {step / floor:.2f} times that, "
        f"{options.batch / step:.2f} windows a second"
    )
    print(f"load {os.getloadavg()[0]:.1f}", flush=True)

    if device == "cuda" or sys.platform == "linux":
        shown = ["--preset", options.preset, "--device", device, "--batch", str(options.batch)]
        shown += ["--precision", options.precision, "--tower", options.tower, *(["--compile"] if options.compile else [])]
        peaks = [
            int(
                subprocess.check_output([sys.executable, __file__, "--peak", name, *shown, *options.overrides], text=True)
            )
            for name in runs
        ]
        print(f"{'peak memory':28}" + "".join(f"{peak / 2**20:19.0f} MB" for peak in peaks))


if __name__ == "__main__":
    main()
