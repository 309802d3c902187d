"""``forehand results merge``: the shards of an evaluation as one."""

from __future__ import annotations

from pathlib import Path

from omegaconf import DictConfig

from forehand.evaluation.merging import merge_results
from forehand.evaluation.results import RESULTS
from forehand_apps.paths import paths_of
from forehand_apps.results_tables import print_table


def results_merge(config: DictConfig) -> None:
    """Merge the evaluations at ``config.paths``, and print the table."""
    output, *runs = [config.output, *paths_of(config.paths)] if config.output is not None else paths_of(config.paths)
    merged = merge_results(runs, Path(output).expanduser(), partial=config.partial)
    print_table(merged)
    print(f"written to {Path(output) / RESULTS}")
