"""``forehand eval``: how often does a policy succeed?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from forehand import Benchmark, Episode
from forehand.errors import ConfigurationError
from forehand.evaluation import evaluate_with
from forehand.results import RESULTS, Evaluation, Record
from forehand_apps.assembly import make
from forehand_apps.crew import assembled
from forehand_apps.replay import compare, replayed

VIDEOS = 4
NOT_DECISIVE = ("robots", "robot", "workers", "videos", "output", "episodes", "trials", "replay")


def eval(config: DictConfig) -> None:
    """Drive the episodes, write the results, print the table."""
    folder = Path(HydraConfig.get().runtime.output_dir)
    earlier: Record | None = None
    if config.replay is not None:
        config, earlier = replayed(config, list(HydraConfig.get().overrides.task))
    benchmark: Benchmark = make("benchmark", config.benchmark)
    trials: Sequence[Sequence[Episode]]
    if earlier is None:
        trials = benchmark.trials(config.episodes, config.seed, None if config.tasks is None else list(config.tasks))
    else:
        trials = earlier.trials
    chosen = list(range(len(trials)) if config.trials is None else config.trials)
    every = earlier is not None or config.trials is not None
    heard = _heard(config.instruction, benchmark)

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rate]}"))
    with (
        assembled(config, benchmark) as (crew, facts),
        Progress(*columns, TimeElapsedColumn(), TimeRemainingColumn(), console=console) as bar,
    ):
        running = bar.add_task("episodes", total=len(chosen), rate="")

        def progress(evaluation: Evaluation) -> None:
            bar.update(running, completed=len(evaluation.lengths), rate=headline(evaluation))

        evaluation = evaluate_with(
            crew,
            trials,
            heard=heard,
            folder=folder,
            setup=_setup(config, facts),
            config=_plain(config),
            videos=config.videos if config.videos is not None else len(chosen) if every else VIDEOS,
            only=chosen,
            progress=progress,
        )
    if earlier is not None:
        compare(earlier, evaluation, chosen)
        print(f"written to {folder}")
        return
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
    """What decides the outcome beside the episodes; where robots and policy are does not."""
    setup = {key: value for key, value in _plain(config).items() if key not in NOT_DECISIVE}
    asked = {key: value for key, value in setup["policy"].items() if key not in ("address", "timeout")}
    return setup | {"policy": asked, "policy_facts": policy}


def _plain(config: DictConfig) -> dict[str, Any]:
    plain = OmegaConf.to_container(config, resolve=True)
    assert isinstance(plain, dict)
    return {str(key): value for key, value in plain.items()}
