"""One job of a sweep, in whatever process a launcher runs it."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig
from rich.console import Console

from forehand_apps.cli.execution import report_failure
from forehand_apps.cli.preemption import requeue
from forehand_apps.jobs.nodes import is_first_node
from forehand_apps.jobs.records import JobRecord, is_done, recorded
from forehand_apps.jobs.stopping import is_stopping


class JobFailed(Exception):
    """A job that failed; its message has been printed."""


def run_sweep_job(command: str, config: DictConfig, carry_out: Callable[[], None]) -> None:
    """Carry out a job that has not finished, from where it is; what becomes of it stands in its record.

    A failure is printed and recorded, and not raised: other jobs go on. Interruptions are raised, but where the sweep is
    being stopped (:mod:`forehand_apps.jobs.stopping`), in which no further job begins.
    """
    hydra = HydraConfig.get()
    sweep, folder, console = Path(hydra.sweep.dir), Path(hydra.runtime.output_dir), Console(stderr=True)
    if is_stopping(sweep):
        return
    if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:  # in a process of its own
        signal.signal(signal.SIGTERM, signal.default_int_handler)
    overrides = list(hydra.overrides.task)
    if is_done(folder, overrides):  # it was launched twice
        console.print(f"{folder}: finished before", soft_wrap=True, markup=False, highlight=False)
        return
    if "resume" in config and not config.get("extend"):
        config.resume = True
    if not is_first_node():  # which keeps the record
        carry_out()
        return
    try:
        with recorded(folder, JobRecord(command, overrides), lambda: last_result(command, folder)) as mine:
            if not mine:
                console.print(f"{folder}: another process runs this job", soft_wrap=True, markup=False, highlight=False)
                return
            try:
                carry_out()
            except Exception as error:
                raise JobFailed(report_failure(error, command)) from error
            except KeyboardInterrupt:
                requeue()
                raise
    except JobFailed:
        return
    except KeyboardInterrupt:
        if not is_stopping(sweep):
            raise


def last_result(command: str, folder: Path) -> str:
    """What the log of a training, or the results of an evaluation, in ``folder`` say last; empty where there are none."""
    if command == "train":
        from forehand.learning.training_log import LOG
        from forehand_apps.training.curves import read_runs

        entries = read_runs([folder])[0].entries if (folder / LOG).is_file() else ()
        entry = next((entry for entry in reversed(entries) if "loss" in entry), None)
        return f"step {entry['step']} loss {entry['loss']:.4g}" if entry else ""
    if command == "eval":
        from forehand.evaluation.results import RESULTS, read_record
        from forehand_apps.evaluation.results_tables import headline

        if (folder / RESULTS).is_file() and (record := read_record(folder)).episodes:
            return headline(record.evaluation)
    return ""
