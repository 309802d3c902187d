"""``forehand results merge``: the shards of an evaluation as one."""

from __future__ import annotations

from pathlib import Path

from omegaconf import DictConfig

from forehand.evaluation.merging import merge_results
from forehand.evaluation.open_loop.merge import merge_open_loop, open_loop_runs
from forehand.evaluation.open_loop.record import OPEN_LOOP
from forehand.evaluation.results import RESULTS
from forehand_apps.cli.paths import paths_of
from forehand_apps.evaluation.open_loop_table import print_open_loop
from forehand_apps.evaluation.results_tables import print_table


def results_merge(config: DictConfig) -> None:
    """Merge the evaluations at ``config.paths``, and print the table."""
    output, *runs = [config.output, *paths_of(config.paths)] if config.output is not None else paths_of(config.paths)
    folder = Path(output).expanduser()
    if parts := open_loop_runs(runs, folder):
        print_open_loop(merge_open_loop(parts, folder, partial=config.partial))
        print(f"written to {folder / OPEN_LOOP}")
        return
    merged = merge_results(runs, folder, partial=config.partial)
    print_table(merged)
    print(f"written to {folder / RESULTS}")
