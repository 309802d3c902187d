"""Speed of Seer on a GPU: control steps, training steps, memory, and the share of the processor's peak.

Runs from a checkout with torch, numpy and safetensors alone, without a network, in a few minutes: nothing is installed,
and weights are random (speed does not depend on them). Measured are

- a control step of a full window that slides, of 1, 8 and 32 sessions: as it is, in bfloat16, and in bfloat16 with
  compiled parts and CUDA graphs (``policy.precision``, ``policy.compile``); the plain implementation beside it, and how
  far the actions in bfloat16 are from those in float32;
- a training step: plain (float32, the inputs' frames alone encoded), ours in float32, in bfloat16, and compiled;
  windows a second, operations a second, and their share of what a large matrix product reaches here and of the peak
  that the manufacturer states.

Operations are counted in our step, so that what is left out does not count. What plain means: see plain_seer.py.

    python performance/gpu.py
    python performance/gpu.py --device cpu --quick    the same code at a small size, to see that it runs
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import math
import statistics
import sys
import time
import types
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / folder) for folder in ("core", "plugins", "seer_plugin", "performance")]
if importlib.util.find_spec("pluggy") is None:
    # Its markers mark plugins for a manager that has no part in this script.
    marker = lambda project: lambda *functions, **_: functions[0]  # noqa: E731
    sys.modules["pluggy"] = types.ModuleType("pluggy")
    vars(sys.modules["pluggy"]).update(HookspecMarker=marker, HookimplMarker=marker)

import numpy as np  # noqa: E402
import torch  # noqa: E402
from plain_seer import CONTRACT, PlainSeer, Stopwatch, matrix_rate, operations, require_device  # noqa: E402
from torch import Tensor  # noqa: E402

import forehand  # noqa: E402
import forehand_plugins.plugin  # noqa: E402
import forehand_seer.plugin  # noqa: E402
from forehand import Observation  # noqa: E402
from forehand.compose.acceleration import accelerate  # noqa: E402
from forehand.compose.policy import ComposedPolicy  # noqa: E402

SEER_CALVIN: dict[str, Any] = {
    "dim": 384,
    "history": 10,
    "image_size": 224,
    "resize": "bicubic",
    "encoders": {
        "text": {"name": "ngram_text"},  # for CLIP's feature of the sentence, which is made once anyway
        "state": {"name": "seer/state", "gripper": "one_hot"},
        "cameras": {
            "name": "seer/resampler",
            "cameras": ["primary", "wrist"],
            "queries": 6,
            "layers": 3,
            "tower": {"name": "seer/mae_vit"},
        },
    },
    "backbone": {"name": "seer/backbone", "layers": 24, "heads": 12, "dropout": 0.1},
    "world_model": {
        "name": "seer/foresight",
        "cameras": ["primary", "wrist"],
        "horizon": 3,
        "queries": 9,
        "patch": 16,
        "layers": 2,
        "heads": 16,
        "target": "patch_normalized",
        "weight": 0.1,
    },
    "action_head": {"name": "seer/inverse_dynamics", "chunk": 3, "gripper_weight": 0.01},
    "reads": {
        "observation": {"observation": "past"},
        "foresight": {"observation": "past"},
        "action": {"observation": "past", "foresight": "same"},
    },
    "normalization": {"state": "none", "action": "none"},
    "random_shift": {
        "primary": {"pixels": [-9, 10], "targets": True},
        "wrist": {"pixels": [-3, 4], "targets": True},
    },
    "initialization": {"linear": "xavier_uniform", "queries": "zeros"},
}
"""The preset ``seer_calvin``, which takes Hydra to be read."""

PEAKS = {"H100": 989e12, "H200": 989e12, "A100": 312e12, "L40S": 362e12, "RTX 4090": 165e12, "B200": 2250e12}
"""Operations a second in dense bfloat16 with sums in float32, by the name of the GPU (the manufacturer's data sheets)."""

SERVING = {
    "float32": {},
    "bfloat16": {"precision": "bfloat16"},
    "bfloat16, CUDA graphs": {"precision": "bfloat16", "compile": "cuda_graphs"},
}
TRAINING = ("float32", "bfloat16", "bfloat16, compiled")


def make_policy(device: str, *, quick: bool, tower: str = "float32") -> ComposedPolicy:
    """Seer on CALVIN with random weights; with ``quick`` a small one."""
    if not forehand.registry().parts("backbone"):
        forehand_seer.plugin.forehand_register(forehand.registry())
        forehand_plugins.plugin.forehand_register(forehand.registry())
    options = json.loads(json.dumps(SEER_CALVIN))
    cameras = options["encoders"]["cameras"]
    cameras["tower"]["precision"] = tower
    if quick:
        options |= {"image_size": 32, "history": 3, "dim": 48, "random_shift": {"primary": 2, "wrist": 1}}
        options["backbone"] |= {"layers": 2, "heads": 4}
        cameras["tower"] |= {"width": 16, "layers": 1, "heads": 2}
    torch.manual_seed(0)
    return ComposedPolicy(contract=CONTRACT, statistics={}, **options).to(device)


class Serving:
    """Some sessions of a policy whose windows are full."""

    def __init__(self, policy: ComposedPolicy, sessions: int) -> None:
        self.policy, self.number = policy, 0
        self.sessions = [policy.open(f"lift block {i}") for i in range(sessions)]
        for _ in range(policy.history):
            self.step()

    def step(self) -> np.ndarray:
        draw = np.random.default_rng(self.number)
        images = {c.name: draw.integers(0, 256, (c.height, c.width, 3), np.uint8) for c in CONTRACT.cameras}
        state = draw.standard_normal(CONTRACT.state_size).astype(np.float32)
        seen = Observation(images, state, self.number / CONTRACT.rate)
        self.number += 1
        return np.stack([p.actions for p in self.policy.step(self.sessions, [seen] * len(self.sessions))])


def measure(device: str, run: Callable[[], object], seconds: float) -> tuple[float, int]:
    """The median of seconds that ``run`` takes, warmed up, within about ``seconds``; and bytes at its peak on a GPU."""
    watch, taken = Stopwatch(device), list[float]()
    for _ in range(3):
        run()
    if device.startswith("cuda"):
        torch.cuda.reset_peak_memory_stats()
    began = watch.now()
    while len(taken) < 3 or watch.now() - began < seconds:
        start = watch.now()
        run()
        taken.append(watch.now() - start)
    return statistics.median(taken), torch.cuda.max_memory_allocated() if device.startswith("cuda") else 0


def serving(device: str, batches: list[int], seconds: float, quick: bool) -> None:
    print(f"\n{'a control step (ms)':34}" + "".join(f"{f'{n} sessions':>14}" for n in batches) + f"{'deviation':>14}")
    exact: np.ndarray | None = None
    for name, options in SERVING.items():
        policy = make_policy(device, quick=quick).eval()
        accelerate(policy, **options)
        first = Serving(policy, 1)
        actions = np.concatenate([first.step() for _ in range(3)])
        exact = actions if exact is None else exact
        deviation = np.abs(actions - exact).max()
        row = [measure(device, Serving(policy, n).step, seconds)[0] for n in batches]
        print(f"{name:34}" + "".join(f"{s * 1e3:14.2f}" for s in row) + f"{deviation:14.1e}", flush=True)
    policy = make_policy(device, quick=quick).eval()
    row = [measure(device, plain_step(policy, n, device), seconds)[0] for n in batches]
    print(f"{'plain, float32':34}" + "".join(f"{s * 1e3:14.2f}" for s in row), flush=True)


def plain_step(policy: ComposedPolicy, sessions: int, device: str) -> Callable[[], object]:
    """The plain implementation's step of full windows that are on the device already."""
    seer = PlainSeer(policy, Stopwatch("cpu")).eval()
    observation = window(policy, sessions, device)["observation"]

    @torch.no_grad()
    def step() -> None:
        for found in seer.act(observation):
            found.cpu()

    return step


def window(policy: ComposedPolicy, batch: int, device: str) -> dict[str, Any]:
    """Random windows, all of whose timesteps count."""
    about = policy.window
    steps, chunk, size = about["history"], about["chunk"], about["image_size"]

    def images() -> Tensor:
        return torch.randint(0, 256, (batch, steps, size, size, 3), dtype=torch.uint8, device=device)

    observation = {f"images.{c}": images() for c in about["cameras"]}
    observation["state"] = torch.randn(batch, steps, CONTRACT.state_size, device=device)
    target = {f"future.{c}": images() for c in about["cameras"]}
    target["actions"] = torch.rand(batch, steps, chunk, CONTRACT.action_size, device=device) * 2 - 1
    for name, shape in (("valid", ()), ("future_valid", ()), ("actions_valid", (chunk,))):
        target[name] = torch.ones(batch, steps, *shape, dtype=torch.bool, device=device)
    return {"observation": {**observation, "instruction": [f"lift block {i}" for i in range(batch)]}, "target": target}


def training_step(policy: ComposedPolicy, loss: Callable[[], Tensor]) -> Callable[[], object]:
    """Forward, backward, clipping and update."""
    parameters = [p for p in policy.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, 1e-4, weight_decay=1e-4, fused=True)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        loss().backward()
        torch.nn.utils.clip_grad_norm_(parameters, 0.1)
        optimizer.step()

    return step


def training(device: str, batch: int, seconds: float, quick: bool, rates: Mapping[str, float]) -> None:
    print(f"\n{f'a training step, {batch} windows':34}{'ms':>10}{'windows/s':>12}{'to plain':>10}", end="")
    print(f"{'TFLOP/s':>10}{'of matrix':>11}{'of peak':>10}{'memory':>12}")
    names = ("plain, float32", *TRAINING)
    plain = needed = math.nan
    peak = next((p for name, p in PEAKS.items() if device != "cpu" and name in torch.cuda.get_device_name()), math.nan)
    for name in names:
        dtype = "bfloat16" if name.startswith("bfloat16") else "float32"
        policy = make_policy(device, quick=quick, tower=dtype).train()
        windows = window(policy, batch, device)
        if name.startswith("plain"):
            seer = PlainSeer(policy, Stopwatch("cpu")).train()
            run = training_step(policy, lambda seer=seer, w=windows: seer(w)[0])
            needed = operations(training_step(policy, lambda policy=policy, w=windows: policy(w)[0]))
        else:
            if name.endswith("compiled") and not (quick and device == "cpu"):
                policy.compile()

            def loss(policy: ComposedPolicy = policy, w: Any = windows, low: bool = dtype == "bfloat16") -> Tensor:
                with torch.autocast(torch.device(device).type, torch.bfloat16, enabled=low):
                    found: Tensor = policy(w)[0]
                return found

            run = training_step(policy, loss)
        took, memory = measure(device, run, seconds)
        plain = took if name.startswith("plain") else plain
        rate = needed / took
        share = f"{rate / rates[dtype]:10.0%} {rate / peak if dtype == 'bfloat16' else math.nan:9.0%}"
        print(f"{name:34}{took * 1e3:10.1f}{batch / took:12.1f}{plain / took:10.2f}{rate / 1e12:10.2f}", end="")
        print(f" {share} {memory / 2**20:8.0f} MB", flush=True)
    print(f"{needed / 1e12 / batch:.3f} TFLOP a window, of our step")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda", help="cuda (default) or cpu")
    parser.add_argument("--quick", action="store_true", help="a small policy, few repetitions; nothing compiled on cpu")
    parser.add_argument("--batch", type=int, default=32, help="windows of a training step (default: 32)")
    parser.add_argument("--seconds", type=float, default=4.0, help="of each measurement, warm-up apart (default: 4)")
    options = parser.parse_args()
    require_device(options.device)
    began = time.perf_counter()
    device, quick = options.device, options.quick
    batch, seconds = (2, 0.0) if quick else (options.batch, options.seconds)
    if quick and device == "cpu":
        SERVING.pop("bfloat16, CUDA graphs", None)
    machine = f"{torch.get_num_threads()} threads" if device == "cpu" else torch.cuda.get_device_name()
    print(f"Seer on CALVIN{', small' if quick else ''}; {machine}, torch {torch.__version__}")
    given = {"seconds": 0.1, "size": 256} if quick else {}
    rates = {dtype: matrix_rate(device, dtype, **given) for dtype in ("float32", "bfloat16")}
    print("a matrix product: " + ", ".join(f"{rate / 1e12:.2f} TFLOP/s in {d}" for d, rate in rates.items()))
    serving(device, [1, 2] if quick else [1, 8, 32], seconds, quick)
    training(device, batch, seconds, quick, rates)
    print(f"\n{time.perf_counter() - began:.0f} s in all")


if __name__ == "__main__":
    main()
