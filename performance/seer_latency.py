"""How long a control step of Seer takes, beside a plain implementation that recomputes the whole window.

Both take turns in one process, on the same weights (random: speed does not depend on them) and the same observations,
and must come to the same actions. Ours is ``policy.step``: everything from uint8 images of 224 x 224 pixels to actions
in the contract's units. What plain means: see plain_seer.py. Measured are a full window that slides, which is a robot's
state for all but the first steps, and the fifth step, when ours uses the cache of the first four. Then, by stage,
where the time goes; how long a batch of several sessions takes; the memory that an episode takes at its peak beyond the
weights (each in a process of its own); and the floor: operations counted in our step, over the rate that a large matrix
product reaches here.

    OMP_NUM_THREADS=2 python performance/seer_latency.py
    python performance/seer_latency.py --device cuda --preset seer_large_calvin
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
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

from forehand import Observation
from forehand.compose import ComposedPolicy
from forehand.utils.images import resize

STAGES = ("tower", "resampler", "backbone", "heads", "foresight", "else")


def observe(step: int) -> Observation:
    generator = np.random.default_rng(step + 1)
    images = {c.name: generator.integers(0, 256, (c.height, c.width, 3), np.uint8) for c in CONTRACT.cameras}
    return Observation(images, generator.standard_normal(CONTRACT.state_size).astype(np.float32), step / CONTRACT.rate)


class Ours:
    """One session, or several in step."""

    def __init__(self, policy: ComposedPolicy, sessions: int = 1) -> None:
        self.policy, self.sessions = policy, [policy.open(f"lift block {i}") for i in range(sessions)]

    def step(self, seen: Observation) -> np.ndarray:
        return self.policy.step(self.sessions, [seen] * len(self.sessions))[0].actions

    def recall(self, frames: list[Observation]) -> None:
        """Stand where a session stands that has seen ``frames``."""
        for session in self.sessions:
            session.reset()
        for seen in frames:
            self.step(seen)


class Plain:
    """The same, keeping the raw frames of one robot."""

    def __init__(self, policy: ComposedPolicy, watch: Stopwatch) -> None:
        self.policy, self.seer, self.seen = policy, PlainSeer(policy, watch).eval(), list[Observation]()
        self.device = watch.device

    @torch.no_grad()
    def step(self, seen: Observation) -> np.ndarray:
        self.seen = [*self.seen, seen][-self.policy.history :]
        size = self.policy.image_size
        images = {c: resize(np.stack([o.images[c] for o in self.seen]), size) for c in seen.images}
        window: dict[str, Any] = {f"images.{c}": torch.from_numpy(i)[None].to(self.device) for c, i in images.items()}
        window["state"] = torch.from_numpy(np.stack([o.state for o in self.seen]))[None].to(self.device)
        window["instruction"] = ["lift block 0"]
        actions, foresight = self.seer.act(window)
        foresight.cpu()
        return actions[0, -1].cpu().numpy()

    def recall(self, frames: list[Observation]) -> None:
        """Stand where a session stands that has seen ``frames``."""
        self.seen = frames


def timed(watch: Stopwatch, step: Callable[[], object]) -> float:
    start = watch.now()
    step()
    return watch.now() - start


def compare(ours: Ours, plain: Plain, age: int, rounds: int, watch: Stopwatch) -> dict[str, list[float]]:
    """Seconds that step number ``age`` of an episode takes both, in turn."""
    taken: dict[str, list[float]] = {"ours": [], "plain": []}
    for number in range(-1, rounds):
        answers = []
        for name, run in (("ours", ours), ("plain", plain)):
            if number < 0 or age <= ours.policy.history or name == "plain":  # a sliding window continues by itself
                run.recall([observe(step) for step in range(number, number + age - 1)])
            newest = observe(number + age - 1)
            start = watch.now()
            answers.append(run.step(newest))
            if number >= 0:  # the first is to warm up
                taken[name].append(watch.now() - start)
        np.testing.assert_allclose(answers[0], answers[1], rtol=1e-4, atol=1e-4)
    return taken


def milliseconds(values: list[float]) -> str:
    return f"{statistics.median(values) * 1e3:8.1f} ms"


def measure_peak(name: str, options: argparse.Namespace) -> None:
    policy = make_policy(options.preset, options.overrides, options.device).eval()
    run = Ours(policy) if name == "ours" else Plain(policy, Stopwatch(options.device))

    def steps() -> None:
        run.recall([observe(step) for step in range(policy.history)])
        run.step(observe(policy.history))

    print(peak_memory(options.device, steps))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="seer_calvin", help="of Seer (default: seer_calvin)")
    parser.add_argument("--device", default="cpu", help="cpu or cuda (default: cpu)")
    parser.add_argument("--rounds", type=int, default=9, help="repetitions of each measurement (default: 9)")
    parser.add_argument("--sessions", type=int, default=8, help="of the batch that is compared to one (default: 8)")
    parser.add_argument("--peak", choices=("ours", "plain"), help=argparse.SUPPRESS)
    parser.add_argument("overrides", nargs="*", help="of the preset's configuration, as in policy.backbone.layers=2")
    options = parser.parse_args()
    require_device(options.device)
    if options.peak:
        measure_peak(options.peak, options)
        return

    device = options.device
    watch = Stopwatch(device)
    policy = make_policy(options.preset, options.overrides, device).eval()
    ours, plain = Ours(policy), Plain(policy, watch)
    threads = f", {torch.get_num_threads()} threads" if device == "cpu" else f", {torch.cuda.get_device_name()}"
    print(
        f"{options.preset}, history {policy.history}, float32, {platform.machine()}{threads}, median of {options.rounds}"
    )

    full = compare(ours, plain, policy.history + 1, options.rounds, watch)
    growing = compare(ours, plain, min(5, policy.history), options.rounds, watch)
    print(f"\n{'one control step':28}{'ours':>11}{'plain':>11}{'ratio':>8}")
    for name, taken in (("full window", full), ("fifth step of an episode", growing)):
        ratio = statistics.median(b / a for a, b in zip(taken["ours"], taken["plain"], strict=True))
        print(f"{name:28}{milliseconds(taken['ours'])}{milliseconds(taken['plain'])}{ratio:8.1f}")

    print(f"\n{'by stage, full window':28}{'ours':>11}{'plain':>11}{'ratio':>8}")
    watched = Stopwatch(device)
    plain.seer.watch = watched
    by_stage: dict[str, dict[str, list[float]]] = {}
    watch_stages(policy, ours_watch := Stopwatch(device))
    for name, run, used in (("ours", ours, ours_watch), ("plain", plain, watched)):
        run.recall([observe(step) for step in range(policy.history)])
        found: list[dict[str, float]] = []
        for number in range(max(3, options.rounds // 2)):
            used.seconds.clear()
            whole = timed(used, lambda run=run, number=number: run.step(observe(100 + number)))
            found.append({**used.seconds, "else": whole - sum(used.seconds.values())})
        by_stage[name] = {stage: [f.get(stage, 0.0) for f in found] for stage in STAGES}
    for stage in STAGES:
        a, b = (statistics.median(by_stage[name][stage]) for name in ("ours", "plain"))
        print(f"{stage:28}{a * 1e3:8.1f} ms{b * 1e3:8.1f} ms{f'{b / a:8.1f}' if a else '':>8}")

    several = Ours(policy, options.sessions)
    several.recall([observe(step) for step in range(policy.history)])
    taken = {"one": list[float](), "several": list[float]()}
    for number in range(max(3, options.rounds // 2)):
        for name, run in (("one", ours), ("several", several)):
            taken[name].append(timed(watch, lambda run=run, number=number: run.step(observe(200 + number))))
    ratio = statistics.median(b / a for a, b in zip(taken["one"], taken["several"], strict=True))
    batch = f"{options.sessions} sessions in one batch"
    print(f"\n{batch:28}{milliseconds(taken['several'])}, {ratio:.1f} times one session's")

    policy.requires_grad_(False)  # since the counter of operations follows gradients
    rate, needed = matrix_rate(device), operations(lambda: ours.step(observe(300)))
    floor, step = needed / rate, statistics.median(full["ours"])
    print(
        f"floor: {needed / 1e9:.0f} GFLOP (plain: {operations(lambda: plain.step(observe(300))) / 1e9:.0f}) at "
        f"{rate / 1e9:.0f} GFLOP/s is {floor * 1e3:.0f} ms; a step takes {step / floor:.2f} times that"
    )
    print(f"load {os.getloadavg()[0]:.1f}", flush=True)

    peaks = {}  # last, so that no other process runs beside what is timed
    for name in ("ours", "plain"):
        command = [sys.executable, __file__, "--peak", name, "--preset", options.preset, "--device", device]
        peaks[name] = int(subprocess.check_output([*command, *options.overrides], text=True))
    print(f"{'peak memory':28}{peaks['ours'] / 2**20:8.0f} MB{peaks['plain'] / 2**20:8.0f} MB", end="")
    print(f"{peaks['plain'] / max(1, peaks['ours']):8.1f}")


if __name__ == "__main__":
    main()
