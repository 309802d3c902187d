"""How many windows a second a policy trains on a CPU if memory that a step frees is kept for the next, and if it is not.

    python performance/freed_memory.py 2> /dev/null

Whole trainings of one thread, on eight episodes of the embedded tabletop, take turns: with ``keep_freed_memory`` of
forehand.learning.optimization, as ``forehand train device=cpu`` has it, and without. Windows a second are those that
the log states, without the first steps.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from training_processes import record

WITHOUT = """
import sys
import forehand.learning.trainer
from forehand_apps.main import run
forehand.learning.trainer.keep_freed_memory = lambda: False
sys.exit(run(sys.argv[1:]))
"""
WAYS = {"returned": ("-c", WITHOUT), "kept": ("-m", "forehand_apps")}


def main() -> None:
    """Print windows a second with memory returned and kept, and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--policy", default="vision_bc", help="which (default: vision_bc)")
    parser.add_argument("--batch", type=int, default=48, help="windows a step (default: 48)")
    parser.add_argument("--steps", type=int, default=200, help="of a training (default: 200)")
    parser.add_argument("--rounds", type=int, default=3, help="turns (default: 3)")
    parser.add_argument("overrides", nargs="*", help="further options of forehand train")
    options = parser.parse_args()

    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        data = record(folder / "data")
        command = ["train", f"policy={options.policy}", f"dataset={data}", "device=cpu", "threads=1"]
        command += ["cache_features=true", f"recipe.batch_size={options.batch}", *options.overrides]
        forehand("kept", *command, "recipe.steps=2", f"output={folder / 'first'}")  # which decodes, and computes features
        speeds: dict[str, list[float]] = {way: [] for way in WAYS}
        system: dict[str, list[float]] = {way: [] for way in WAYS}
        for number in range(options.rounds):
            for way in WAYS:
                output = folder / f"{way}-{number}"
                before = resource.getrusage(resource.RUSAGE_CHILDREN)
                forehand(way, *command, f"recipe.steps={options.steps}", f"output={output}")
                after = resource.getrusage(resource.RUSAGE_CHILDREN)
                speeds[way].append(speed(output))
                system[way].append(after.ru_stime - before.ru_stime)
    print(f"{options.policy}, {options.batch} windows a step, one thread; load {os.getloadavg()[0]:.1f}")
    for way in WAYS:
        windows, seconds = statistics.median(speeds[way]), statistics.median(system[way])
        print(f"  memory {way:10s}{windows:6.0f} windows/s, {seconds:5.1f} s of a training in the system")
    ratios = [kept / returned for returned, kept in zip(speeds["returned"], speeds["kept"], strict=True)]
    every = ", ".join(f"{ratio:.2f}" for ratio in ratios)
    print(f"kept: {statistics.median(ratios):.2f} times as fast ({every})", flush=True)


def forehand(way: str, *arguments: str) -> None:
    """Carry out one command."""
    command = [sys.executable, *WAYS[way], *arguments]
    subprocess.run(command, env=os.environ | {"OMP_NUM_THREADS": "1"}, check=True, stdout=sys.stderr)


def speed(run: Path) -> float:
    """Windows a second of a training: the median of its log's entries but the first."""
    entries = [json.loads(line) for line in (run / "training.jsonl").read_text().splitlines()]
    return statistics.median([entry["windows_per_second"] for entry in entries if "windows_per_second" in entry][1:])


if __name__ == "__main__":
    main()
