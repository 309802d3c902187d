"""What small Seer learns of ``tabletop-chains`` on a CPU, beside the same policy without its world model.

Demonstrations in the environments A, B and C; for each seed a small Seer and a behaviour cloning with the same encoders,
backbone, action head, data, steps and batches; each judged on chains of five instructions in D, which it has never seen,
and in A, in sentences kept back from training. Every step is a ``forehand`` command, printed as it is run. All of them
can be stopped, and the same command continues from there.

    python experiments/tabletop_learning.py --output outputs/tabletop_learning
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from forehand.evaluation.intervals import mean_interval, wilson_interval
from forehand.evaluation.results import Evaluation, read_record
from forehand.learning.trainer import LOG

POLICIES = {"seer_small": "Seer, small", "behaviour_cloning": "the same without its world model"}
VARIANTS = ("D", "A")
TOKENS = 4  # of each camera: there is more to look at than three blocks


def main() -> None:
    """Record, train and judge what is missing, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("outputs/tabletop_learning"), help="where everything goes")
    parser.add_argument("--episodes", type=int, default=2400, help="demonstrations in A, B and C (default: 2400)")
    parser.add_argument("--steps", type=int, default=3500, help="of each training (default: 3500)")
    parser.add_argument("--batch-size", type=int, default=64, help="windows in a step (default: 64)")
    parser.add_argument("--learning-rate", type=float, default=2e-3, help="at its peak (default: 2e-3)")
    parser.add_argument("--chains", type=int, default=40, help="for each policy, seed and environment (default: 40)")
    parser.add_argument("--seeds", type=int, default=3, help="trainings of each policy (default: 3)")
    arguments = parser.parse_args()

    folder = arguments.output
    data = folder / "abc"
    run_side_by_side(
        [
            f"record benchmark=tabletop-chains variant=ABC sentences=train preceding_tasks=4 output={data} "
            f"episodes={arguments.episodes} seed=0 noise.std=0.01"
        ]
    )
    learn = (
        f"train dataset={data} device=cpu threads=1 policy.encoders.cameras.tokens={TOKENS} resume=true "
        f"recipe.steps={arguments.steps} recipe.batch_size={arguments.batch_size} "
        f"recipe.learning_rate={arguments.learning_rate}"
    )
    judge = (
        f"eval benchmark=tabletop-chains episodes={arguments.chains} chunking=temporal_ensemble binary_gripper=true "
        "policy.device=cpu num_videos=0"
    )
    for seed in range(arguments.seeds):
        runs = {policy: folder / policy / str(seed) for policy in POLICIES}
        run_side_by_side([f"{learn} policy={policy} recipe.seed={seed} output={run}" for policy, run in runs.items()])
        for variant in VARIANTS:
            run_side_by_side(
                [f"{judge} variant={variant} policy.checkpoint={run} output={run}_{variant}" for run in runs.values()]
            )
    report = _tables(folder, arguments.seeds)
    (folder / "table.md").write_text(report + "\n", encoding="utf-8")
    print(report)


def run_side_by_side(commands: Sequence[str]) -> None:
    """Run the commands side by side, one thread each, to their ends."""
    processes = []
    for command in commands:
        print(f"$ forehand {command}", file=sys.stderr, flush=True)
        arguments = [sys.executable, "-m", "forehand_apps", *shlex.split(command)]
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        processes.append(subprocess.Popen(arguments, stdout=sys.stderr, env=environment))
    try:
        statuses = [process.wait() for process in processes]
    except KeyboardInterrupt:
        statuses = [process.wait() for process in processes]
    if failed := [command for command, status in zip(commands, statuses, strict=True) if status]:
        sys.exit(f"Failed at: forehand {failed[0]}\nThe same command continues from here.")


def _tables(folder: Path, seeds: int) -> str:
    lines = ["| environment | policy | seed | n | 1 | 2 | 3 | 4 | 5 | first of the chain | average length |"]
    lines.append("|---|---|---|---:|---:|---:|---:|---:|---:|---|---|")
    per_task: dict[str, dict[tuple[str, str], list[bool]]] = {}
    for variant, policy in itertools.product(VARIANTS, POLICIES):
        everything: list[int] = []
        for seed in range(seeds):
            episodes = read_record(folder / policy / f"{seed}_{variant}").episodes
            for episode in episodes:
                per_task.setdefault(episode.task, {}).setdefault((variant, policy), []).append(episode.success)
            lengths = Evaluation(tuple(episodes)).lengths
            lines.append(_row(variant, policy, str(seed), lengths))
            everything += lengths
        lines.append(_row(variant, policy, "all", everything))
    columns = list(itertools.product(VARIANTS, POLICIES))
    lines += ["", "| task | " + " | ".join(f"{variant}: {POLICIES[policy]}" for variant, policy in columns) + " |"]
    lines.append("|---|" + "---:|" * len(columns))
    for task in sorted(per_task):
        cells = [per_task[task].get(column, []) for column in columns]
        lines.append(f"| {task} | " + " | ".join(f"{sum(cell)}/{len(cell)}" for cell in cells) + " |")
    lines += ["", "| policy | seed | arm loss | gripper loss |", "|---|---|---:|---:|"]
    for policy, seed in itertools.product(POLICIES, range(seeds)):
        last = json.loads((folder / policy / str(seed) / LOG).read_text(encoding="utf-8").splitlines()[-1])
        lines.append(f"| {POLICIES[policy]} | {seed} | {last['arm']:.4f} | {last['gripper']:.4f} |")
    return "\n".join(lines)


def _row(variant: str, policy: str, seed: str, lengths: Sequence[int]) -> str:
    counts = [sum(length >= k for length in lengths) for k in range(1, 6)]
    shares = " | ".join(f"{count / len(lengths):.2f}" for count in counts)
    average = f"{sum(lengths) / len(lengths):.2f} {mean_interval(lengths, 0, 5)}"
    first = f"{counts[0]}/{len(lengths)} {wilson_interval(counts[0], len(lengths))}"
    return f"| {variant} | {POLICIES[policy]} | {seed} | {len(lengths)} | {shares} | {first} | {average} |"


if __name__ == "__main__":
    main()
