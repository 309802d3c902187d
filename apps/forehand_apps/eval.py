"""``forehand eval``: success rates of a policy."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig
from rich.console import Console
from rich.table import Table

from forehand import Benchmark, Episode
from forehand.errors import ConfigurationError
from forehand.evaluation.evaluate import evaluate_with
from forehand.evaluation.results import RESULTS, Evaluation, EvaluationRecord
from forehand.utils.progress import progress
from forehand_apps.instantiate import make, plain
from forehand_apps.make_runner import latency_of, make_runner
from forehand_apps.replay import compare, replayed

VIDEOS = 4
NOT_DECISIVE = ("robots", "robot", "workers", "num_videos", "output", "episodes", "trials", "replay")


def eval(config: DictConfig) -> None:
    """Drive the episodes, write the results, print the table."""
    folder = Path(HydraConfig.get().runtime.output_dir)
    earlier: EvaluationRecord | None = None
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
    instruction_given = _instruction_given(config.instruction, benchmark)

    with make_runner(config, benchmark) as (runner, facts), progress("evaluating", len(chosen)) as show:
        evaluation = evaluate_with(
            runner,
            trials,
            instruction_given=instruction_given,
            folder=folder,
            setup=_setup(config, facts),
            config=plain(config, partial=True),
            videos=config.num_videos if config.num_videos is not None else len(chosen) if every else VIDEOS,
            only=chosen,
            progress=lambda evaluation: show(len(evaluation.lengths), headline(evaluation)),
        )
    if earlier is not None:
        compare(earlier, evaluation, chosen)
        print(f"written to {folder}")
        return
    print_table(evaluation)
    print(f"{headline(evaluation)} n={len(evaluation.lengths)}")
    print(f"written to {folder / RESULTS}")


def headline(evaluation: Evaluation) -> str:
    """The main metric: the success rate, or for chains the average number of instructions accomplished in a row."""
    if evaluation.length == 1:
        return f"success {evaluation.total.rate:.2f} {evaluation.total.interval}"
    return f"average length {evaluation.average_length:.2f} {evaluation.average_interval} of {evaluation.length}"


def print_table(evaluation: Evaluation) -> None:
    """Print the success rates per task, and for chains those of 1, 2, … instructions in a row."""
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


def _instruction_given(which: str, benchmark: Benchmark) -> Callable[[Episode], str]:
    if which == "task":
        return lambda episode: episode.instruction
    if which == "counterfactual":
        return benchmark.counterfactual_instruction
    raise ConfigurationError(f"instruction must be task or counterfactual, not {which!r}.")


def _setup(config: DictConfig, policy: dict[str, Any]) -> dict[str, Any]:
    """The options that determine the outcome beside the episodes; addresses of robots and policy do not."""
    setup = {key: value for key, value in plain(config, partial=True).items() if key not in NOT_DECISIVE}
    irrelevant = ("address", "timeout", *(() if latency_of(config) else ("latency",)))
    decisive = {key: value for key, value in setup["policy"].items() if key not in irrelevant}
    return setup | {"policy": decisive, "policy_facts": policy}
