"""Replay of an earlier evaluation's trials, from its manifest."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from rich.table import Table

from forehand.errors import ConfigurationError
from forehand.evaluation.results import EpisodeResult, Evaluation, EvaluationRecord, read_record
from forehand.utils.renames import renamed_keys
from forehand_apps.cli.instantiate import SOURCES

OWN = ("replay", "trials", "shard", "num_videos", "workers", "output", "probes")
"""Keys taken from this command, defaults included."""


def replayed(config: DictConfig, overrides: Sequence[str]) -> tuple[DictConfig, EvaluationRecord]:
    """The record of the evaluation in ``config.replay``, and its configuration with this command's ``overrides``."""
    record = read_record(Path(config.replay).expanduser())
    if not record.config:
        raise ConfigurationError(f"The manifest in {config.replay} has no configuration, so it cannot be replayed.")
    merged = OmegaConf.merge(renamed_keys(record.config, command="eval"), {key: config[key] for key in OWN})
    assert isinstance(merged, DictConfig)
    for override in OverridesParser.create().parse_overrides(list(overrides)):
        key, value = override.key_or_group, override.value()
        if override.is_delete():
            raise ConfigurationError(f"A replay cannot leave out an option of the earlier evaluation: ~{key}.")
        if isinstance(value, str) and isinstance(config.get(key), DictConfig):
            value = config[key]  # another choice of a whole group
        if key.removeprefix("policy.") in SOURCES:
            OmegaConf.update(merged, "policy", dict.fromkeys(SOURCES), merge=True)
        OmegaConf.update(merged, key, value, force_add=True)
    return merged, record


def compare(record: EvaluationRecord, evaluation: Evaluation, trials: Sequence[int]) -> None:
    """Print each trial's earlier and present outcome, and how many are the same."""
    table = Table("trial", "tasks", "then", "now", "", box=None)
    same = known = 0
    for trial in trials:
        then, now = (_outcome(episodes, trial) for episodes in (record.episodes, evaluation.episodes))
        tasks = ", ".join(episode.task for episode in record.trials[trial])
        known += then != "not driven"
        same += then == now
        table.add_row(str(trial), tasks, then, now, "same" if then == now else "" if then == "not driven" else "differs")
    Console().print(table)
    print(f"{same} of {known} trials had the same outcome")


def _outcome(episodes: Sequence[EpisodeResult], trial: int) -> str:
    mine = [episode for episode in episodes if episode.index == trial]
    if not mine:
        return "not driven"
    return ", ".join(f"{'success' if episode.success else 'failure'} after {episode.steps}" for episode in mine)
