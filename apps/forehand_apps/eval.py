"""``forehand eval``: how often does a policy succeed?"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from forehand import Benchmark, Episode
from forehand.errors import ConfigurationError
from forehand.evaluation import evaluate
from forehand.results import RESULTS, Evaluation
from forehand_apps.assembly import execution_factory, make, make_robots, open_policies


def eval(config: DictConfig) -> None:
    """Drive the episodes, write the results, print the table."""
    folder = Path(HydraConfig.get().runtime.output_dir)
    benchmark: Benchmark = make("benchmark", config.benchmark)
    trials = benchmark.trials(config.episodes, config.seed, None if config.tasks is None else list(config.tasks))
    heard = _heard(config.instruction, benchmark)
    robots = make_robots(config)
    policies = open_policies(config.policy, robots, benchmark)
    execution = execution_factory(config, policies[0].contract)

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rate]}"))
    with Progress(*columns, TimeElapsedColumn(), TimeRemainingColumn(), console=console) as bar:
        running = bar.add_task("episodes", total=len(trials), rate="")

        def progress(evaluation: Evaluation) -> None:
            bar.update(running, completed=len(evaluation.lengths), rate=headline(evaluation))

        evaluation = evaluate(
            policies,
            robots,
            trials,
            execution=execution,
            heard=heard,
            folder=folder,
            setup=_setup(config, policies[0].describe()),
            videos=config.videos,
            progress=progress,
        )
    print_table(evaluation)
    print(f"{headline(evaluation)} n={len(evaluation.lengths)}")
    print(f"written to {folder / RESULTS}")


def headline(evaluation: Evaluation) -> str:
    """The one number: the success rate, or for chains how many instructions in a row succeeded on average."""
    if evaluation.length == 1:
        return f"success {evaluation.total.rate:.2f} {evaluation.total.interval}"
    return f"average length {evaluation.average_length:.2f} {evaluation.average_interval} of {evaluation.length}"


def print_table(evaluation: Evaluation) -> None:
    """For chains success of 1, 2, … in a row; and the table per task; on standard output."""
    if evaluation.length > 1:
        chains = Table("in a row", "n", "successes", "rate", "95 % interval", box=None)
        for link in evaluation.chains:
            chains.add_row(str(link.length), str(link.n), str(link.successes), f"{link.rate:.2f}", str(link.interval))
        Console().print(chains)
    table = Table("task", "n", "successes", "rate", "95 % interval", box=None)
    for row in [*evaluation.tasks, evaluation.total]:
        if row.task == "all":
            table.add_section()
        table.add_row(row.task, str(row.n), str(row.successes), f"{row.rate:.2f}", str(row.interval))
    Console().print(table)


def _heard(which: str, benchmark: Benchmark) -> Callable[[Episode], str]:
    if which == "own":
        return lambda episode: episode.instruction
    if which == "other":
        return benchmark.other_instruction
    raise ConfigurationError(f"instruction must be own or other, not {which!r}.")


def _setup(config: DictConfig, policy: dict[str, Any]) -> dict[str, Any]:
    """What decides the outcome beside the episodes; where the robots are does not."""
    plain = OmegaConf.to_container(config, resolve=True)
    assert isinstance(plain, dict)
    without = ("robots", "robot", "videos", "output", "episodes")
    setup: dict[str, Any] = {str(k): v for k, v in plain.items() if k not in without}
    return setup | {"policy_facts": policy}
