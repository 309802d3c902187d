"""How often the scripted experts of ``tabletop-chains`` succeed: every task in every variant, and chains of five.

Physics without cameras. Finished tasks are kept in the file of results, so that an interrupted run can be continued.

    python experiments/tabletop_experts.py --seeds 50 --chains 100 --results outputs/tabletop_experts.jsonl
    python experiments/tabletop_experts.py --seeds 3 --disturbances lighting pushed_block --results disturbed.jsonl
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

from forehand import Episode
from forehand.evaluation.intervals import mean_interval, wilson_interval
from forehand_tabletop.chains.benchmark import TabletopChainsBenchmark
from forehand_tabletop.chains.robot import TabletopChainsRobot
from forehand_tabletop.chains.tasks import TASKS

Key = tuple[str, str, int]  # variant, task or "chain", number


def main() -> None:
    """Run what is missing, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=10, help="episodes of each task in each variant (default: 10)")
    parser.add_argument("--chains", type=int, default=20, help="chains in each variant (default: 20)")
    parser.add_argument("--variants", default="ABCD", help="which variants (default: ABCD)")
    parser.add_argument("--seed", type=int, default=0, help="decides the scenes (default: 0)")
    parser.add_argument(
        "--disturbances", nargs="*", default=(), help="what every episode is disturbed by (default: nothing)"
    )
    parser.add_argument("--results", type=Path, default=Path("outputs/tabletop_experts.jsonl"), help="kept here")
    arguments = parser.parse_args()

    arguments.results.parent.mkdir(parents=True, exist_ok=True)
    found = dict(_read(arguments.results))
    robot = TabletopChainsRobot(image_size=16)
    robot.connect()
    with arguments.results.open("a", encoding="utf-8") as file:
        for variant in arguments.variants:
            benchmark = TabletopChainsBenchmark(variant, disturbances=arguments.disturbances)
            episodes = benchmark.episodes(arguments.seeds * len(TASKS), arguments.seed)
            work = [(episode.task, i // len(TASKS), (episode,)) for i, episode in enumerate(episodes)]
            work += [("chain", i, trial) for i, trial in enumerate(benchmark.trials(arguments.chains, arguments.seed))]
            for task, number, trial in work:
                if (key := (variant, task, number)) not in found:
                    found[key] = _solve(robot, benchmark, trial)
                    file.write(json.dumps([*key, *found[key]]) + "\n")
                    file.flush()
    robot.close()
    _print(found, arguments.variants)


def _solve(robot: TabletopChainsRobot, benchmark: TabletopChainsBenchmark, trial: tuple[Episode, ...]) -> tuple[int, int]:
    """How many episodes in a row succeeded, and in how many control steps."""
    steps = 0
    for done, episode in enumerate(trial):
        robot.begin(episode)
        expert = benchmark.expert(robot, episode, episode.seed)
        for _ in range(episode.max_steps):
            if robot.success:
                break
            action = expert.act()
            assert action is not None
            robot.act(action)
            steps += 1
        if not robot.success:
            return done, steps
    return len(trial), steps


def _read(path: Path) -> Iterator[tuple[Key, tuple[int, int]]]:
    if path.exists():
        for line in path.read_text(encoding="utf-8").splitlines():
            variant, task, number, done, steps = json.loads(line)
            yield (variant, task, number), (done, steps)


def _print(found: dict[Key, tuple[int, int]], variants: str) -> None:
    print(
        "| task | "
        + " | ".join(variants)
        + " | all | 95 % interval | steps |\n|---|"
        + "---:|" * len(variants)
        + "---:|---|---:|"
    )
    for task in [*TASKS, "all"]:
        cells, everything = [], []
        for variant in variants:
            outcomes = [
                outcome for (v, t, _), outcome in found.items() if v == variant and t != "chain" and task in (t, "all")
            ]
            cells.append(f"{sum(done for done, _ in outcomes)}/{len(outcomes)}")
            everything += outcomes
        wins = sum(done for done, _ in everything)
        steps = sum(steps for done, steps in everything if done) / max(1, wins)
        interval = wilson_interval(wins, len(everything))
        print(f"| {task} | {' | '.join(cells)} | {wins / max(1, len(everything)):.3f} | {interval} | {steps:.0f} |")
    print("\n| chains | n | 1 | 2 | 3 | 4 | 5 | 95 % interval of 5 | average length |")
    print("|---|---:|---:|---:|---:|---:|---:|---|---|")
    for variant in [*variants, "all"]:
        lengths = [done for (v, t, _), (done, _) in found.items() if t == "chain" and variant in (v, "all")]
        rates = [sum(length >= k for length in lengths) for k in range(1, 6)]
        shares = " | ".join(f"{rate / max(1, len(lengths)):.2f}" for rate in rates)
        average = f"{sum(lengths) / max(1, len(lengths)):.2f} {mean_interval(lengths, 0, 5)}"
        print(f"| {variant} | {len(lengths)} | {shares} | {wilson_interval(rates[-1], len(lengths))} | {average} |")


if __name__ == "__main__":
    main()
