"""``forehand data label``: actions of recordings that have none, by models of inverse dynamics."""

from __future__ import annotations

import functools
import json
import shlex
import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from omegaconf import DictConfig, ListConfig
from rich.console import Console

from forehand.data.frame_store import FrameStore
from forehand.data.importing.job import Shard
from forehand.data.recording.card import write_card
from forehand.data.recording.label_card import card_sections, notices
from forehand.evaluation.labelling.estimates import Model
from forehand.evaluation.labelling.job import Labelling, LabellingJob, opened_labelling
from forehand.evaluation.open_loop.inverse import R_SQUARED
from forehand.learning.checkpoint import find_checkpoint, load_policy, read_checkpoint
from forehand.learning.devices import pick_device
from forehand.learning.trainer import LOG
from forehand.utils.numbers import count
from forehand.utils.progress import progress
from forehand.utils.signals import stopped_by_signals

MEASURED = "validation/action_error/"
"""What the log of a training calls the accuracy of its validation."""


def data_label(config: DictConfig) -> None:
    """Label ``config.source`` with ``config.checkpoint``, to ``config.output``."""
    count(1, workers=config.workers)
    console = Console(stderr=True)
    given = config.checkpoint
    checkpoints = [str(one) for one in (given if isinstance(given, ListConfig) else [given])]
    job = LabellingJob(
        Path(config.source).expanduser(),
        Path(config.output),
        functools.partial(load_models, checkpoints, str(pick_device(config.device))),
        Shard.parse(config.shard),
        config.cache,
        FrameStore(config.frames),
        config.threads,
        config.replace,
    )
    with opened_labelling(job) as running:
        _label(running, config.workers, console)
        record = running.commit()
    command = f"forehand data label source={job.source.name} checkpoint={_named(checkpoints)} output={job.output.name}"
    write_card(job.root, command, config.license, card_sections([record], command))
    for line in notices(record):
        console.print(f"Note: {line}", soft_wrap=True, markup=False, style="yellow")
    for one in record.get("replaced", []):
        accuracy = "" if one["r2"] is None else f", R² {one['r2']:.3g}"
        console.print(
            f"Against the recorded {one['name']}: error {one['error']:.3g} {one['unit']}{accuracy}.", markup=False
        )
    console.print(
        f"{record['labelled']} actions of {record['episodes']} episodes are labelled in {job.root}; {record['unknown']} "
        f"frames, the last of each episode among them, have none.",
        soft_wrap=True,
        markup=False,
    )


def load_models(checkpoints: Sequence[str], device: str) -> list[Model]:
    """The models of checkpoints, with what their runs have measured of them; raises :class:`CheckpointError`."""
    models = []
    for checkpoint in checkpoints:
        folder = find_checkpoint(checkpoint)
        policy = load_policy(folder, device)
        std = np.asarray(read_checkpoint(folder)[1]["statistics"].get("action", {}).get("std", []), np.float64)
        name = f"{folder.parent.parent.name}/{folder.name}"
        models.append(Model(name, policy.describe()["fingerprint"], policy, std**2, validated(folder)))
    return models


def validated(folder: Path) -> dict[str, float] | None:
    """R² by field in the last validation up to a checkpoint, by its run's log; None where there is none."""
    log, step = folder.parent.parent / LOG, folder.name.rpartition("_")[2]
    if not log.is_file() or not step.isdigit():
        return None
    found = None
    for line in log.read_text(encoding="utf-8").splitlines():
        entry = json.loads(line)
        measured = {
            key.removeprefix(MEASURED).removesuffix(R_SQUARED): value
            for key, value in entry.items()
            if key.startswith(MEASURED) and key.endswith(R_SQUARED)
        }
        if measured and entry["step"] <= int(step):
            found = measured
    return found


def _label(running: Labelling, workers: int, console: Console) -> None:
    interrupted = threading.Event()

    def stop() -> None:
        interrupted.set()
        running.stop()
        console.print("[yellow]Finishing the episodes under way. Press Ctrl-C again to discard them.[/]")

    total, done = len(running.episodes), len(running.done)
    with progress("labelling episodes", total, done=done, console=console) as show, stopped_by_signals(stop):
        for _ in running.label(workers):
            done += 1
            show(done)
    if interrupted.is_set() and not running.complete and len(running.done) < total:
        raise KeyboardInterrupt(
            f"Interrupted. {len(running.done)} of {total} episodes are kept at {running.job.root}; the same command "
            f"continues from there."
        )


def _named(checkpoints: Sequence[str]) -> str:
    names = [Path(checkpoint).name for checkpoint in checkpoints]
    return names[0] if len(names) == 1 else shlex.quote(f"[{','.join(names)}]")
