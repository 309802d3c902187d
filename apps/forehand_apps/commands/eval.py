"""``forehand eval``: success rates of a policy, or its errors on recorded episodes."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from forehand import Benchmark, Episode
from forehand.environments import find
from forehand.errors import ConfigurationError
from forehand.evaluation.evaluate import chosen_trials, evaluate_with
from forehand.evaluation.probes import BLIND, Trials, probe_folder, probe_trials
from forehand.evaluation.results import RESULTS, Evaluation, EvaluationRecord
from forehand.evaluation.shards import Shard
from forehand.utils.progress import progress
from forehand_apps.cli.inside import run_inside
from forehand_apps.cli.instantiate import is_hosted, make, plain, policy_source
from forehand_apps.evaluation.interventions import bank_facts
from forehand_apps.evaluation.make_runner import latency_of, make_runner
from forehand_apps.evaluation.replay import compare, replayed
from forehand_apps.evaluation.results_tables import headline, print_table

VIDEOS = 4
NOT_DECISIVE = (
    *("robots", "robot", "workers", "num_videos", "output", "episodes", "trials", "shard", "replay"),
    *("dataset", "open_loop", "probes"),
)


def eval(config: DictConfig) -> None:
    """Drive the episodes, write the results, print the table."""
    if config.dataset is not None:
        from forehand_apps.evaluation.open_loop import open_loop  # which needs torch

        open_loop(config)
        return
    folder = Path(HydraConfig.get().runtime.output_dir)
    earlier: EvaluationRecord | None = None
    if config.replay is not None:
        config, earlier = replayed(config, list(HydraConfig.get().overrides.task))
    if policy_source(config.policy) == "expert" and config.robot.get("environment"):
        run_inside(config.robot.environment)  # an expert reads the simulator's state
    benchmark: Benchmark = make("benchmark", config.benchmark)
    if earlier is None:
        _follow(benchmark.evaluation_options(None if config.tasks is None else list(config.tasks)), config)
    trials: Sequence[Sequence[Episode]]
    if earlier is None:
        trials = benchmark.trials(config.episodes, config.seed, None if config.tasks is None else list(config.tasks))
    else:
        trials = earlier.trials
    only = None if config.trials is None else list(config.trials)
    shard = None if config.shard is None else Shard.parse(config.shard)
    chosen, mine = chosen_trials(trials, only), chosen_trials(trials, only, shard)
    every = earlier is not None or config.trials is not None
    instruction_given = _instruction_given(config.instruction, benchmark)

    probes = _probes(config, benchmark, trials)

    with make_runner(config, benchmark) as (runner, facts):
        setup = _setup(config, facts) | _about(config, benchmark)

        def judge(trials: Sequence[Sequence[Episode]], title: str, **options: Any) -> Evaluation:
            with progress(title, len(mine)) as show:
                report = functools.partial(_report, show)
                return evaluate_with(runner, trials, only=only, shard=shard, progress=report, **options)

        videos = config.num_videos if config.num_videos is not None else len(chosen) if every else VIDEOS
        whole = plain(config, partial=True)
        main: dict[str, Any] = {"instruction_given": instruction_given, "folder": folder, "setup": setup, "config": whole}
        evaluation = judge(trials, "evaluating", videos=videos, **main)
        for name, (probed, instruction) in probes.items():
            given = {"instruction": "counterfactual" if name == BLIND else config.instruction}
            judge(
                probed,
                f"probe {name}",
                instruction_given=instruction or instruction_given,
                folder=probe_folder(folder, name),
                setup=setup | given | {"probe": name},
                config=whole | given | {"probes": []},
            )
        if probes:  # no trial is left, and the probes' rows come into the table
            evaluation = evaluate_with(runner, trials, only=only, shard=shard, **main)
    if earlier is not None:
        compare(earlier, evaluation, mine)
        print(f"written to {folder}")
        return
    print_table(evaluation)
    print(f"written to {folder / RESULTS}")


def _probes(
    config: DictConfig, benchmark: Benchmark, trials: Trials
) -> dict[str, tuple[Trials, Callable[[Episode], str] | None]]:
    """The trials of each probe, and the instruction there, if not that of the evaluation."""
    if config.probes and config.replay is not None:
        raise ConfigurationError("A replay drives the trials of one evaluation: leave out probes=…, or replay=….")
    if BLIND in config.probes and policy_source(config.policy) == "expert":
        raise ConfigurationError("An expert takes no sentence, so the probe blind would say nothing about it.")
    return {name: probe_trials(name, benchmark, trials) for name in config.probes}


def _report(show: Callable[[int, str], None], evaluation: Evaluation) -> None:
    show(len(evaluation.lengths), headline(evaluation))


def _instruction_given(which: str, benchmark: Benchmark) -> Callable[[Episode], str]:
    if which == "task":
        return lambda episode: episode.instruction
    if which == "counterfactual":
        return benchmark.counterfactual_instruction
    raise ConfigurationError(f"instruction must be task or counterfactual, not {which!r}.")


def _follow(protocol: Mapping[str, Any], config: DictConfig) -> None:
    """Put those options of a benchmark's ``protocol`` into ``config`` that the command line does not give."""
    given = {override.partition("=")[0].lstrip("+~").partition(".")[0] for override in HydraConfig.get().overrides.task}
    for key, value in protocol.items():
        if key not in given:
            OmegaConf.update(config, key, value, merge=False)


def _about(config: DictConfig, benchmark: Benchmark) -> dict[str, Any]:
    """What is stated with the results beside the options: notes, and versions of the simulator."""
    about: dict[str, Any] = {"notes": list(benchmark.notes)} if benchmark.notes else {}
    if is_hosted(config) and (environment := config.robot.get("environment")):
        about["environment"] = find(environment).versions
    return about


def _setup(config: DictConfig, policy: dict[str, Any]) -> dict[str, Any]:
    """The options that determine the outcome beside the episodes; addresses of robots and policy do not."""
    setup = {key: value for key, value in plain(config, partial=True).items() if key not in NOT_DECISIVE}
    irrelevant = ("address", "timeout", *(() if latency_of(config) else ("latency",)))
    decisive = {key: value for key, value in setup["policy"].items() if key not in irrelevant}
    return setup | {"policy": decisive, "policy_facts": policy, **bank_facts(config)}
