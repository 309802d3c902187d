"""Windows a second of two processes that train together on two cores, beside one process on one of them.

    python performance/training_processes.py [--policy seer_small] [--batch 32] 2> /dev/null

Each process computes with one thread and has as many windows a step (``--batch``), which it reads from a LeRobotDataset
on disk while it computes the step before; two of them exchange gradients (DDP over gloo), as ``forehand train launch=ddp
launch.processes=2 device=cpu`` does. Two that train apart, each a policy of its own, say what the machine gives when both
cores are used: they share memory and clock. They take turns in one run, all of them warm. Windows are counted by the
clock, and by the second of processor time of the busiest process, in which waiting for a core that others use does not
count, but nor does waiting for the other process. At a load above the number of processes, the clock says little.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

COUNTS = {"one": 1, "two together": 2, "two apart": 2}


def main() -> None:
    """Print windows a second of one and of two processes, and their ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--policy", default="seer_small", help="preset of Seer (default: seer_small)")
    parser.add_argument("--batch", type=int, default=32, help="windows a step in each process (default: 32)")
    parser.add_argument("--steps", type=int, default=10, help="in a turn (default: 10)")
    parser.add_argument("--rounds", type=int, default=5, help="turns, and one to warm up (default: 5)")
    parser.add_argument("--dataset", type=Path, help="LeRobotDataset (default: eight episodes of the embedded tabletop)")
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("overrides", nargs="*", help="of the preset's configuration, as in policy.backbone.layers=2")
    options = parser.parse_args()
    if options.folder:
        train(options)
        return
    given = sys.argv[1:]
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        if not options.dataset:
            given += ["--dataset", str(record(folder / "data"))]
        groups = {name: start(name, count, given, folder) for name, count in COUNTS.items()}
        turns: dict[str, list[tuple[float, float]]] = {name: [] for name in COUNTS}
        for number in range(-1, options.rounds):
            for name, processes in groups.items():
                found = turn(processes)
                if number >= 0:
                    turns[name].append(found)
        for processes in groups.values():
            stop(processes)
        print(f"{options.policy}, {options.batch} windows a step in each process, {os.cpu_count()} cores")
        speeds = {
            name: [[count * options.batch * options.steps / seconds for seconds in times] for times in turns[name]]
            for name, count in COUNTS.items()
        }
        for name, found in speeds.items():
            clock, processor = map(statistics.median, zip(*found, strict=True))
            ratios = [(a / c, b / d) for (a, b), (c, d) in zip(found, speeds["one"], strict=True)]
            by_clock, by_processor = map(statistics.median, zip(*ratios, strict=True))
            print(
                f"  {name:13s}{clock:7.1f} windows/s by the clock ({by_clock:.2f} times one), {processor:7.1f} by "
                f"processor time ({by_processor:.2f} times); {parts(folder / name / '0')}"
            )
        print(f"load {os.getloadavg()[0]:.1f}", flush=True)


def record(folder: Path) -> Path:
    """Demonstrations of the embedded tabletop's expert."""
    from forehand_apps.main import run

    if run(["record", "robot=tabletop", f"output={folder}", "episodes=8", "workers=1"]):
        sys.exit("nothing was recorded")
    return folder


def start(name: str, count: int, options: list[str], folder: Path) -> list[subprocess.Popen[str]]:
    """``count`` processes that train together or apart, by turns."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared, together = os.environ | {"OMP_NUM_THREADS": "1"}, name == "two together"
    if together:
        shared |= {"WORLD_SIZE": str(count), "LOCAL_WORLD_SIZE": str(count)}
        shared |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    return [
        subprocess.Popen(
            [sys.executable, __file__, *options, "--folder", str(folder / name / ("0" if together else str(rank)))],
            env=shared | ({"RANK": str(rank), "LOCAL_RANK": str(rank)} if together else {}),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for rank in range(count)
    ]


def turn(processes: list[subprocess.Popen[str]]) -> tuple[float, float]:
    """Let them train so many steps: seconds by the clock, and of the processor, those of the process that took most."""
    for process in processes:
        print("on", file=process.stdin, flush=True)
    said = [json.loads(process.stdout.readline()) for process in processes]  # type: ignore[union-attr]
    clock, processor = (max(times) for times in zip(*said, strict=True))
    return clock, processor


def stop(processes: list[subprocess.Popen[str]]) -> None:
    """Let them end."""
    for process in processes:  # all, before one is waited for
        print("stop", file=process.stdin, flush=True)
    for process in processes:
        process.communicate()
        if process.returncode:
            sys.exit("a process failed")


def parts(folder: Path) -> str:
    """What a step of the main process spent its time on."""
    entries = [json.loads(line) for line in (folder / "training.jsonl").read_text().splitlines()][1:]
    names = [
        name for name in entries[0] if name.startswith("time/") and name != "time/callbacks"
    ]  # which waited for its turn
    seconds = {name: statistics.median(entry[name] for entry in entries) for name in names}
    return ", ".join(f"{name.removeprefix('time/')} {s * 1e3:.0f} ms" for name, s in seconds.items()) + " a step"


def train(options: argparse.Namespace) -> None:
    """One of the processes: train by turns."""
    import torch
    from hydra import compose, initialize_config_module

    from forehand.data.dataset import Dataset
    from forehand.data.sampling import ShuffledBatches
    from forehand.data.windows import WindowDataset
    from forehand.learning.callbacks.callback import TrainingCallback
    from forehand.learning.checkpoint import build_policy
    from forehand.learning.distributed.processes import join_processes, leave_processes
    from forehand.learning.recipe import Recipe
    from forehand.learning.trainer import Trainer

    class Turns(TrainingCallback):
        """Steps by turns: waits for a line, and answers with the seconds that they took."""

        def on_start(self, run: Any) -> None:
            self.wait(run)

        def on_step(self, run: Any) -> None:
            if run.step % options.steps == 0:
                print(json.dumps([time.perf_counter() - self.began, time.process_time() - self.used]), flush=True)
                self.wait(run)

        def wait(self, run: Any) -> None:
            if sys.stdin.readline().strip() != "on":
                run.request_stop("all turns were taken")
            self.began, self.used = time.perf_counter(), time.process_time()

    torch.set_num_threads(1)
    processes = join_processes(torch.device("cpu"))
    with initialize_config_module("forehand_seer.conf", version_base=None):
        config = compose(overrides=[f"+policy={options.policy}", *options.overrides]).policy
    torch.manual_seed(0)
    data = Dataset.open(options.dataset)
    policy = build_policy(config, data.contract, data.statistics)
    with processes.main_first():
        windows = WindowDataset(data, policy.window, cache=options.folder.parents[1] / "cache")
    recipe = Recipe(
        steps=10**6,
        batch_size=options.batch * processes.count,
        learning_rate=1e-4,
        seed=0,
        log_every=options.steps,
        save_every=10**6,
    )
    order = ShuffledBatches(len(windows), recipe.batch_size, recipe.seed)
    options.folder.mkdir(parents=True, exist_ok=True)
    trainer = Trainer(
        policy,
        lambda number: windows.batch(processes.share(order.at(number)), step=number, seed=recipe.seed),
        recipe,
        options.folder,
        config={},
        statistics=data.statistics,
        facts={},
        callbacks=[Turns()],
        processes=processes,
    )
    trainer.run()
    leave_processes()


if __name__ == "__main__":
    main()
