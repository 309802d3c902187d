"""``forehand import``: recordings in another format, as a LeRobotDataset."""

from __future__ import annotations

import os
import shlex
import threading
import time
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from rich.markup import escape

from forehand.data.features import read_contract, read_mapping
from forehand.data.importing.job import ImportJob, Shard
from forehand.data.importing.record import IMPORT_FILE, card_sections
from forehand.data.importing.run import Import, opened_import
from forehand.data.recording.card import training_command, write_card
from forehand.utils.progress import progress
from forehand.utils.provenance import provenance
from forehand.utils.signals import stopped_by_signals
from forehand.utils.video import Encoding

COMMAND_KEYS = ("output", "shard", "workers", "damaged", "license", "pictures", "video")
"""Options of the command; all others are the importer's."""


def import_recordings(config: DictConfig) -> None:
    """Import ``config.source`` into a LeRobotDataset at ``config.output``."""
    job, console = import_job(config), Console(stderr=True)
    with opened_import(job) as running:
        for line in running.importer.statements.notices():
            console.print(f"Note: {line}", soft_wrap=True, markup=False, style="yellow")
        if not running.complete:
            _convert(running, config.workers or os.cpu_count() or 1, console)
        running.commit(provenance())
        record = read_mapping(job.root / IMPORT_FILE)
        licence = config.license or running.importer.licence
        if record["episodes"]:
            write_card(job.root, _command(config), licence, card_sections(record, _command(config)))
    _report(job, record, console)


def import_job(config: DictConfig) -> ImportJob:
    """The import that ``config`` describes."""
    options: Any = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    own = {key: options.pop(key) for key in COMMAND_KEYS}
    return ImportJob(
        output=Path(own["output"]),
        importer=options.pop("importer"),
        options=options,
        shard=Shard.parse(own["shard"]),
        damaged=own["damaged"],
        pictures=own["pictures"],
        encoding=Encoding(**own["video"]),
    )


def _convert(running: Import, workers: int, console: Console) -> None:
    interrupted = threading.Event()

    def stop() -> None:
        interrupted.set()
        running.stop()
        console.print("[yellow]Finishing the episodes under way. Press Ctrl-C again to discard them.[/]")

    total = len(running.episodes)
    done, frames = len(running.outcomes), 0
    with progress("importing", total, done=done, console=console) as show, stopped_by_signals(stop):
        start = time.monotonic()
        for outcome in running.convert(workers):
            done, frames = done + 1, frames + outcome.frames
            dropped = sum(o.dropped is not None for o in running.outcomes.values())
            words = f"{60 * frames / (time.monotonic() - start):.0f} frames a minute"
            show(done, words + (f", {dropped} dropped" if dropped else ""))
    if interrupted.is_set() and not running.finished():
        raise KeyboardInterrupt(
            f"Interrupted. {done} of {total} episodes are kept at {running.job.root}; the same command continues from "
            f"there."
        )


def _report(job: ImportJob, record: dict[str, Any], console: Console) -> None:
    counts = {"episode": len(record["dropped_episodes"]), "frame": sum(record["skipped_frames"].values())}
    left_out = [f"{count} {what}{'s' * (count != 1)}" for what, count in counts.items() if count]
    words = f" Left out: {' and '.join(left_out)}; {job.root / IMPORT_FILE} says why." if left_out else ""
    console.print(
        f"{record['episodes']} episodes with {record['frames']} frames in {job.root}.{words}",
        soft_wrap=True,
        markup=False,
    )
    if job.shard.count == 1:
        command = escape(training_command(str(job.root), read_contract(job.root)))
        console.print(f"Learn from them with: [bold]{command}[/]", soft_wrap=True)


def _command(config: DictConfig) -> str:
    """The command line of the same import, independent of folder and number of workers."""
    given = list(HydraConfig.get().overrides.task) if HydraConfig.initialized() else []
    by_key = {override.split("=")[0]: override for override in given}
    kept = [o for key, o in by_key.items() if key not in ("importer", "output", "workers", "license", "damaged")]
    return f"forehand import {config.importer} {shlex.join([*kept, f'output={Path(config.output).name}'])}"
