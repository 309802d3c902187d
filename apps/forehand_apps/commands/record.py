"""``forehand record``: demonstrations of a scripted expert."""

from __future__ import annotations

import functools
import os
import shlex
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig
from rich.console import Console
from rich.markup import escape

from forehand.data.demonstrations.demonstrate import Noise
from forehand.data.demonstrations.parallel import ParallelRecorder, RecordingJob
from forehand.data.features import read_contract
from forehand.data.recording.card import training_command, write_card
from forehand.data.recording.commit import commit_episodes, finished_episodes, recording_lock, require_same_contract
from forehand.utils.progress import progress
from forehand.utils.signals import stopped_by_signals
from forehand.utils.video import Encoding
from forehand_apps.cli.inside import run_inside
from forehand_apps.cli.instantiate import plain
from forehand_apps.cli.numbers import check_numbers


def record(config: DictConfig) -> None:
    """Record ``config.episodes`` demonstrations into a LeRobotDataset at ``config.output``."""
    if config.robot.get("environment"):
        run_inside(config.robot.environment)  # an expert reads the simulator's state
    job = recording_job(config)
    root, console = job.root, Console(stderr=True)
    card = functools.partial(write_card, root, _command(config), config.license)
    with recording_lock(root):
        there = finished_episodes(root)
        missing = [index for index in range(job.episodes) if index not in there]
        if missing:
            count = _record(job, missing, config.workers or os.cpu_count() or 1, console, card)
        else:
            count = commit_episodes(root, job.robot)
            card()
    if count:
        command = escape(training_command(str(root), read_contract(root)))
        console.print(f"{count} episodes in {root}. Learn from them with: [bold]{command}[/]", soft_wrap=True)


def recording_job(config: DictConfig) -> RecordingJob:
    """The recording that ``config`` describes."""
    check_numbers(config)
    return RecordingJob(
        root=Path(config.output).expanduser(),
        robot=config.robot.name,
        benchmark=config.benchmark.name,
        episodes=config.episodes,
        seed=config.seed,
        robot_options=plain(config.robot.options),
        convert=list(config.robot.get("convert") or ()),
        benchmark_options=plain(config.benchmark.options),
        tasks=None if config.tasks is None else list(config.tasks),
        noise=Noise(**plain(config.noise)),
        hold_steps=config.hold_steps,
        encoding=Encoding(**plain(config.video)),
    )


def _command(config: DictConfig) -> str:
    """The command line of the same recording, independent of folder and number of workers."""
    by_key = {"episodes": f"episodes={config.episodes}", "seed": f"seed={config.seed}"}
    if HydraConfig.initialized():
        by_key |= {override.split("=")[0]: override for override in HydraConfig.get().overrides.task}
    kept = [override for key, override in by_key.items() if key not in ("output", "workers", "license")]
    return f"forehand record {shlex.join([*kept, f'output={Path(config.output).name}'])}"


def _record(job: RecordingJob, missing: Sequence[int], workers: int, console: Console, card: Callable[[], None]) -> int:
    """Record the ``missing`` episodes; the finished ones are committed even after an error. Returns their number."""
    interrupted = False
    try:
        with ParallelRecorder(job, missing, workers) as recorder:
            require_same_contract(job.root, recorder.contract)
            interrupted = _show_progress(recorder, job.episodes - len(missing), job.episodes, console)
    finally:
        count = commit_episodes(job.root, job.robot)
        if count:
            card()
    if interrupted and count < job.episodes:
        raise KeyboardInterrupt(
            f"Interrupted. {count} of {job.episodes} episodes are in {job.root} and can be used as they are; "
            f"the same command continues from there."
        )
    return count


def _show_progress(recorder: ParallelRecorder, done: int, total: int, console: Console) -> bool:
    """Record, and show the progress; returns whether it was interrupted."""
    interrupted = threading.Event()

    def stop() -> None:
        interrupted.set()
        recorder.stop()
        console.print("[yellow]Finishing the episodes under way. Press Ctrl-C again to discard them.[/]")

    with progress("recording", total, done=done, console=console) as show, stopped_by_signals(stop):
        start, failures = time.monotonic(), 0
        for count, saved in enumerate(recorder.record(), start=1):
            failures += saved.failures
            rate = f"{count / (time.monotonic() - start):.1f} episodes/s"
            rate += f", {failures} failures replaced" if failures else ""
            show(done + count, rate)
    return interrupted.is_set()
