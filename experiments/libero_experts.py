"""How often LIBERO's scripted experts succeed, task by task, from drawn initial states: physics without pictures.

Continues in the environment ``libero`` (forehand env make libero). Finished episodes are kept in the file of results, so
that an interrupted run can be continued, and one with more episodes adds to it.

    python experiments/libero_experts.py --suite libero_object --episodes 20
    python experiments/libero_experts.py --suite libero_10 --episodes 20
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import sys
from pathlib import Path

from forehand import Episode
from forehand.environments import find
from forehand.evaluation.intervals import wilson_interval
from forehand_libero.benchmark import LiberoBenchmark
from forehand_libero.robot import LiberoRobot

Key = tuple[str, int]  # task, number
Outcome = tuple[bool, int]  # success, control steps


def main() -> None:
    """Run what is missing, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--suite", default="libero_10", help="whose tasks (default: libero_10)")
    parser.add_argument("--episodes", type=int, default=20, help="of each task (default: 20)")
    parser.add_argument("--seed", type=int, default=0, help="decides the initial states (default: 0)")
    parser.add_argument("--tasks", nargs="*", help="only these, by name or sentence (default: all)")
    parser.add_argument("--results", type=Path, help="kept here (default: outputs/libero_experts/SUITE.jsonl)")
    arguments = parser.parse_args()
    if importlib.util.find_spec("libero") is None:
        python = str(find("libero").executable)
        os.execv(python, [python, *sys.argv])

    results = arguments.results or Path(f"outputs/libero_experts/{arguments.suite}.jsonl")
    results.parent.mkdir(parents=True, exist_ok=True)
    benchmark = LiberoBenchmark(arguments.suite)
    names = list(dict.fromkeys(episode.task for episode in benchmark.episodes(len(benchmark.tasks), 0, arguments.tasks)))
    found = _read(results)
    robot = LiberoRobot(image_size=8, fresh="reset")
    robot.connect()
    with results.open("a", encoding="utf-8") as file:
        for task in names:
            for number, episode in enumerate(benchmark.episodes(arguments.episodes, arguments.seed, [task])):
                if (task, number) not in found:
                    found[task, number] = _solve(robot, benchmark, episode)
                    file.write(json.dumps([task, number, *found[task, number]]) + "\n")
                    file.flush()
                    print(f"{task} {number}: {found[task, number]}", file=sys.stderr, flush=True)
    robot.close()
    _print(found, names)


def _solve(robot: LiberoRobot, benchmark: LiberoBenchmark, episode: Episode) -> Outcome:
    """Whether the expert succeeds, and in how many control steps."""
    with robot.rehearsal():
        observation = robot.reset(episode)
        expert = benchmark.expert(robot, episode, episode.seed)
        for steps in range(episode.max_steps):
            if observation.success:
                return True, steps
            action = expert.act()
            if action is None:
                return False, steps
            observation = robot.step(action)
    return bool(observation.success), episode.max_steps


def _read(path: Path) -> dict[Key, Outcome]:
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return {(task, number): (success, steps) for task, number, success, steps in map(json.loads, lines)}


def _print(found: dict[Key, Outcome], names: list[str]) -> None:
    print("| task | successes | 95 % interval | steps |\n|---|---:|---|---:|")
    for name in [*names, "all"]:
        outcomes = [outcome for (task, _), outcome in found.items() if name in (task, "all")]
        wins = [steps for success, steps in outcomes if success]
        mean = sum(wins) / max(1, len(wins))
        print(f"| {name} | {len(wins)}/{len(outcomes)} | {wilson_interval(len(wins), len(outcomes))} | {mean:.0f} |")


if __name__ == "__main__":
    main()
