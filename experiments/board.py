"""Minutes of training to an average length of 1.0 and of 2.0 in D: a row of ``docs/results/board.md`` for each commit.

Demonstrations of ``tabletop-chains`` in A, B and C (minutes of recording are not counted), one training whose checkpoints
are kept, and each judged in D, from the first on, until 2.0 is reached. The minutes are those that the training says its
steps took. The checkpoint that reached most is judged once more with both probes. Everything can be stopped, and the same
command continues; a commit that has its row is refused.

    OMP_NUM_THREADS=2 python experiments/board.py
    python experiments/board.py --episodes 600 --steps 1000 --chains 20 --policy behaviour_cloning
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

from forehand.evaluation.results import Evaluation, read_record
from forehand.learning.checkpoint import step_folder
from forehand.learning.trainer import LOG
from forehand.utils.files import replacing

ROOT = Path(__file__).resolve().parent.parent
BOARD = ROOT / "docs/results/board.md"
GOALS = (1.0, 2.0)


def main() -> None:
    """Record, train and judge what is missing, and append the row."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("outputs/board"), help="where everything goes")
    parser.add_argument("--board", type=Path, default=BOARD, help="the page that gets the row")
    parser.add_argument("--policy", default="behaviour_cloning", help="policy=… of the training")
    parser.add_argument("--episodes", type=int, default=2400, help="demonstrations (default: 2400)")
    parser.add_argument("--steps", type=int, default=7000, help="of the training (default: 7000)")
    parser.add_argument(
        "--every", type=int, default=500, help="steps from one judged checkpoint to the next (default: 500)"
    )
    parser.add_argument("--chains", type=int, default=40, help="for each checkpoint (default: 40)")
    parser.add_argument("--more", default="", help="further options of forehand train, for instance 'recipe.seed=1'")
    arguments = parser.parse_args()

    commit = _commit()
    if f"| {commit} |" in arguments.board.read_text(encoding="utf-8"):
        sys.exit(f"{arguments.board} has a row of the commit {commit}; remove it to measure it again.")
    load = os.getloadavg()[0]
    data, folder = arguments.output / f"abc_{arguments.episodes}", arguments.output / commit
    _forehand(
        f"record benchmark=tabletop-chains variant=ABC sentences=train preceding_tasks=4 output={data} "
        f"episodes={arguments.episodes} seed=0 noise.std=0.01"
    )
    _forehand(
        f"train dataset={data} output={folder}/training policy={arguments.policy} device=cpu resume=true "
        f"policy.encoders.cameras.tokens=4 recipe.learning_rate=2e-3 recipe.batch_size=64 recipe.steps={arguments.steps} "
        f"recipe.save_every={arguments.every} recipe.keep_checkpoints=1000 {arguments.more}"
    )
    reached: dict[float, int] = {}
    found: dict[int, Evaluation] = {}
    for step in [*range(arguments.every, arguments.steps, arguments.every), arguments.steps]:
        found[step] = _judged(folder, step, arguments.chains)
        for goal in GOALS:
            if found[step].average_length >= goal:
                reached.setdefault(goal, step)
        if GOALS[-1] in reached:
            break
    best = max(found, key=lambda step: found[step].average_length)
    whole = _judged(folder, best, arguments.chains, "probes=[blind,redrawn]")
    minutes = [f"{_minutes(folder, reached[goal]):.0f}" if goal in reached else "–" for goal in GOALS]
    cells = [
        *(f"{datetime.now(UTC):%Y-%m-%d}", commit, arguments.policy, *minutes),
        f"{_minutes(folder, best):.0f}",
        f"{whole.average_length:.2f} {whole.average_interval}",
        *(f"{whole.probes[name].average_length:.2f}" for name in ("blind", "redrawn")),
        f"{arguments.chains}",
        f"{arguments.episodes}",
        f"{os.cpu_count()} cores, load {load:.1f}",
    ]
    with replacing(arguments.board) as staging:
        text = arguments.board.read_text(encoding="utf-8")
        staging.write_text(f"{text.rstrip()}\n| {' | '.join(cells)} |\n", encoding="utf-8")
    print(f"appended to {arguments.board}")


def _judged(folder: Path, step: int, chains: int, *options: str) -> Evaluation:
    """The evaluation of the checkpoint of ``step`` in D."""
    output = folder / f"step_{step}"
    _forehand(
        f"eval benchmark=tabletop-chains variant=D policy.checkpoint={step_folder(folder / 'training', step)} "
        f"episodes={chains} chunking=temporal_ensemble binary_gripper=true policy.device=cpu num_videos=0 "
        f"workers=null output={output} {' '.join(options)}"
    )
    return read_record(output).evaluation


def _minutes(folder: Path, step: int) -> float:
    """Minutes that the training's steps took up to ``step``."""
    seconds, last = 0.0, 0
    for line in (folder / "training" / LOG).read_text(encoding="utf-8").splitlines():
        entry = json.loads(line)
        if "time/compute" in entry and last < entry["step"] <= step:
            each = sum(value for name, value in entry.items() if name.startswith("time/"))
            seconds, last = seconds + each * (entry["step"] - last), entry["step"]
    return seconds / 60


def _commit() -> str:
    describe = ["git", "-C", str(ROOT), "describe", "--always", "--abbrev=10", "--dirty=+", "--exclude=*"]
    return subprocess.check_output(describe, text=True).strip()


def _forehand(command: str) -> None:
    print(f"$ forehand {command}", file=sys.stderr, flush=True)
    done = subprocess.run([sys.executable, "-m", "forehand_apps", *shlex.split(command)], stdout=sys.stderr)
    if done.returncode:
        sys.exit(f"Failed at: forehand {command}\nThe same command continues from here.")


if __name__ == "__main__":
    main()
