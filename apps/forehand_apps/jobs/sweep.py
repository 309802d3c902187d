"""Sweeps: which jobs are launched, and what has become of all of them."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

from hydra.core.utils import JobStatus
from hydra.plugins.launcher import Launcher
from omegaconf import DictConfig
from rich.console import Console
from rich.table import Table

from forehand.errors import describe
from forehand.utils.signals import PREEMPTIONS
from forehand_apps.cli.preemption import Preempted
from forehand_apps.jobs.records import FINISHED, RUNNING, JobRecord, is_done, is_running, read_job, write_job
from forehand_apps.jobs.stopping import clear, passed_on

FAILED = 1

SIDE_BY_SIDE = ".JoblibLauncher"
"""The launcher whose jobs are processes of this computer, and which kills them where it is interrupted."""


@dataclass(frozen=True)
class SweepJob:
    """A job as the sweeper plans it: what it varies, all options (Hydra's own among them), and the folder."""

    varied: str
    overrides: Sequence[str]
    folder: Path


def carry_out(jobs: Sequence[SweepJob], config: DictConfig, launcher: Launcher) -> None:
    """Launch what is not done and print the table; raises SystemExit unless all jobs have finished.

    Raises KeyboardInterrupt, or :class:`.Preempted`, once all jobs of an interrupted sweep have stopped.
    """
    console = Console(stderr=True)
    command = str(config.hydra.job.name)
    skipped = [job for job in jobs if job.folder.is_dir() and is_done(job.folder, task_overrides(job.overrides))]
    running = [job for job in jobs if job not in skipped and is_running(job.folder)]
    left = [job for job in jobs if job not in skipped and job not in running]
    if skipped or running:
        parts = [f"{len(skipped)} finished before" if skipped else "", f"{len(running)} running" if running else ""]
        console.print(f"sweep of {len(jobs)} jobs: {', '.join(filter(None, parts))}, {len(left)} to do", soft_wrap=True)
    for job in left:
        before = read_job(job.folder)
        fresh = JobRecord(command, task_overrides(job.overrides), result=before.result if before else "")
        write_job(job.folder, fresh)
    folder = Path(str(config.hydra.sweep.dir))
    clear(folder)  # of one that was killed while it was being stopped
    problems: list[BaseException] = []
    received: list[int] = []
    side_by_side = str(config.hydra.launcher._target_).endswith(SIDE_BY_SIDE)
    stopping = passed_on(folder, [job.folder for job in left])
    try:
        if left:
            with stopping if side_by_side else nullcontext(received) as received:
                returned = launcher.launch([list(job.overrides) for job in left], initial_job_idx=0)
            problems += [r._return_value for r in returned if r.status == JobStatus.FAILED]
    except Exception as error:  # a job that ended without a word, or a launcher that could not begin
        problems.append(error)
    finally:
        unfinished = _print_table(jobs, skipped)
    for problem in problems[:1]:
        console.print(describe(problem), style="red", markup=False, soft_wrap=True)
    if unfinished and received:
        message = f"Interrupted; {unfinished} of {len(jobs)} jobs have not finished. The same command goes on with them."
        raise (Preempted if received[0] in PREEMPTIONS else KeyboardInterrupt)(message)
    if unfinished:
        message = f"{unfinished} of {len(jobs)} jobs have not finished. The same command goes on with them."
        console.print(message, style="red", soft_wrap=True)
    if unfinished or problems:
        raise SystemExit(FAILED)


def task_overrides(overrides: Sequence[str]) -> list[str]:
    """Those of a command line's options that are not Hydra's."""
    return [override for override in overrides if not override.lstrip("+~").startswith(("hydra.", "hydra/"))]


def _print_table(jobs: Sequence[SweepJob], skipped: Sequence[SweepJob]) -> int:
    """Show what has become of the jobs; returns how many have not finished."""
    table = Table("job", "state", "last result", "folder", box=None)
    unfinished, reasons = 0, []
    for job in jobs:
        record = read_job(job.folder) or JobRecord("", job.overrides)
        if record.state == RUNNING and not is_running(job.folder):
            record = replace(record, state="lost", reason="its process ended without a word")
        unfinished += record.state != FINISHED
        state = f"{record.state} before" if job in skipped else record.state
        table.add_row(job.varied, state, record.result, str(job.folder))
        if record.reason and record.state != FINISHED:
            reasons.append(f"{job.varied or job.folder}: {record.reason}")
    Console(soft_wrap=True).print(table)
    for reason in reasons:
        Console(soft_wrap=True).print(reason, markup=False, highlight=False)
    return unfinished
