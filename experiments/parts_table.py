"""Every stock action head on the plain tabletop, with and without a world model, at equal data, steps and parameters.

Each policy is ``transformer_bc`` with one head, and once more with an appearance-flow world model that the head reads;
trained on the same demonstrations for the same steps, judged on the same held-out episodes. Printed are success with its
interval, seconds a step of training and parameters; those of a column lie within ten per cent of each other. Every step
is a ``forehand`` command; all of them can be stopped, and the same command continues from there.

    python experiments/parts_table.py --output outputs/parts
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path

from tabletop_learning import run_side_by_side

from forehand.evaluation.intervals import wilson_interval
from forehand.evaluation.results import read_record
from forehand.learning.trainer import LOG

HEADS: Mapping[str, Mapping[str, object]] = {
    "chunk_regression": {"width": 480},
    "seer/inverse_dynamics": {"beta": 0.1},
    "gaussian_mixture": {"width": 144},
    "discrete_bins": {"bins": 64},
    "cvae": {"width": 40, "style": 16},
    "flow_matching": {"width": 32, "layers": 2},
    "flow_matching_expert": {},
    "diffusion": {"width": 32, "layers": 2},
}
"""Options of each head at about equal numbers of parameters."""

FORESIGHT = (
    "+policy.world_model.name=appearance_flow +policy.world_model.cameras=[static,wrist] "
    "+policy.world_model.weight=0.1 +policy.world_model.loss_fraction=0.25 "
    "+policy.reads.foresight.observation=past +policy.reads.action.foresight=same"
)
BATCH, TIMED = 64, 80
"""Windows in a step, and the steps of the trainings that are timed."""

ARMS = {"without": "policy.backbone.layers=4", "with": f"policy.backbone.layers=3 {FORESIGHT}"}
"""Options of each column; without a world model a layer more makes up for its parameters."""


def main() -> None:
    """Record, train and judge what is missing, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("outputs/parts"), help="where everything goes")
    parser.add_argument("--demonstrations", type=int, default=540, help="(default: 540)")
    parser.add_argument("--steps", type=int, default=1500, help="of each training (default: 1500)")
    parser.add_argument("--episodes", type=int, default=54, help="held-out, for each policy (default: 54)")
    parser.add_argument("--heads", nargs="*", default=list(HEADS), choices=list(HEADS), help="(default: all)")
    arguments = parser.parse_args()

    data = arguments.output / "data"
    run_side_by_side(
        [
            f"record robot=tabletop tasks=[push,lift,stack,stack,stack] noise.std=0.012 seed=0 output={data} "
            f"episodes={arguments.demonstrations}"
        ]
    )
    for head in arguments.heads:
        runs = {arm: run_folder(arguments.output, head, arm) for arm in ARMS}
        steps = f"recipe.steps={arguments.steps}"
        run_side_by_side([f"{training(data, head, arm)} resume=true {steps} output={run}" for arm, run in runs.items()])
        run_side_by_side(
            [
                f"eval benchmark=tabletop episodes={arguments.episodes} seed=1000003 chunking=temporal_ensemble "
                f"binary_gripper=true policy.device=cpu num_videos=0 policy.checkpoint={run} output={run}_judged"
                for run in runs.values()
            ]
        )
    for head, arm in itertools.product(arguments.heads, ARMS):  # one at a time, which is what is measured
        timed = Path(f"{run_folder(arguments.output, head, arm)}_timed")
        run_side_by_side([f"{training(data, head, arm)} resume=true recipe.steps={TIMED} output={timed}"])
    report = table(arguments.output, arguments.heads)
    (arguments.output / "table.md").write_text(report + "\n", encoding="utf-8")
    print(report)


def training(data: Path, head: str, arm: str) -> str:
    """The training command of one cell of the table, but for its steps and its output."""
    left_out = "" if head == "chunk_regression" else "~policy.action_head.loss"  # gripper_weight they have in common
    given = " ".join(f"+policy.action_head.{name}={value}" for name, value in HEADS[head].items())
    return (
        f"train policy=transformer_bc dataset={data} device=cpu threads=1 recipe.batch_size={BATCH} "
        f"recipe.learning_rate=2e-3 policy.normalization.action=limits policy.action_head.name={head} {left_out} {given} "
        f"{ARMS[arm]}"
    )


def run_folder(output: Path, head: str, arm: str) -> Path:
    """Where a training goes."""
    return output / head.replace("/", "_") / arm


def table(output: Path, heads: Sequence[str]) -> str:
    """The results of all that was trained, as Markdown."""
    lines = ["| action head | foresight | success | n | 95 % interval | parameters | s a step |"]
    lines.append("|---|---|---:|---:|---|---:|---:|")
    for head, arm in itertools.product(heads, ARMS):
        run = run_folder(output, head, arm)
        record = read_record(Path(f"{run}_judged"))
        won, n = sum(e.success for e in record.episodes), len(record.episodes)
        log = (Path(f"{run}_timed") / LOG).read_text(encoding="utf-8").splitlines()
        seconds = statistics.median(BATCH / json.loads(line)["windows_per_second"] for line in log)
        parameters = record.setup["policy_facts"]["parameters"]
        interval = wilson_interval(won, n)
        lines.append(f"| {head} | {arm} | {won / n:.2f} | {n} | {interval} | {parameters:,} | {seconds:.3f} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
