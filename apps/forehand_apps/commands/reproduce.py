"""``forehand reproduce``: the command that made a checkpoint, what has changed since, and another run of it."""

from __future__ import annotations

import shlex
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from rich.table import Table

from forehand.errors import ConfigurationError, ForehandError
from forehand.learning.checkpoint import (
    WEIGHTS,
    find_checkpoint,
    read_checkpoint,
    read_provenance,
    read_tensors,
    step_folder,
)
from forehand.sharing.reproduction import Change, changes_since, command_words, repeated
from forehand_apps.cli.overrides import as_overrides


class RunFailed(ForehandError):
    """The training that was to be repeated ended with an error, which it has reported itself."""


def reproduce(config: DictConfig) -> None:
    """Print the command of ``config.checkpoint``; with ``config.run``, run it again and compare the weights."""
    folder = find_checkpoint(config.checkpoint)
    read_checkpoint(folder)
    made = read_provenance(folder)
    if not (words := command_words(made)):
        raise ConfigurationError(f"{folder} does not say which command made it.")
    dataset: Any = config.dataset
    dataset = OmegaConf.to_container(dataset) if OmegaConf.is_config(dataset) else dataset
    if config.run:
        _require_repeatable(words, config.output)
    _print_changes(changes_since(made, dataset))
    print(shlex.join(words), flush=True)
    if config.run:
        _run(repeated(words, *_moved(words, dataset), f"output={config.output}", "resume=true"))
        _compare(folder, step_folder(Path(config.output), made.get("step", 0)))


def _moved(words: list[str], dataset: Any) -> list[str]:
    """The option that says where the data lies now; what else the command says about a single dataset stays."""
    if dataset is None:
        return []
    options = isinstance(dataset, str) and any(word.startswith("dataset={") and "path:" in word for word in words)
    return as_overrides({"dataset.path" if options else "dataset": dataset})


def _require_repeatable(words: list[str], output: str | None) -> None:
    if words[:2] != ["forehand", "train"]:
        raise ConfigurationError(f"Only forehand train is run again, and this was made by: {shlex.join(words)}")
    if output is None:
        raise ConfigurationError("run=true needs output=…, a new folder for the training.")


def _print_changes(changes: list[Change]) -> None:
    console = Console(stderr=True)
    if not changes:
        console.print("Nothing that was recorded has changed since: commit, versions, data.", soft_wrap=True)
        return
    table = Table("changed since", "then", "now", box=None)
    for change in changes:
        table.add_row(*change)
    console.print(table)


def _run(words: list[str]) -> None:
    """Run ``forehand`` in a process of its own, which gets the signals that this one gets."""
    program = [sys.executable, "-c", "from forehand_apps.main import main; main()", *words[1:]]
    with subprocess.Popen(program, start_new_session=True) as process:
        try:
            status = process.wait()
        except KeyboardInterrupt:
            process.send_signal(signal.SIGINT)
            process.wait()
            raise KeyboardInterrupt("Stopped; the same command continues.") from None
    if status:
        raise RunFailed(
            f"The training ended with status {status}; what it wrote is kept, and the same command continues."
        )


def _compare(then: Path, now: Path) -> None:
    """Print how far the weights in two checkpoints are apart."""
    if not now.is_dir():
        raise ConfigurationError(f"The training ended without {now.name}, so there is nothing to compare with {then}.")
    before, after = read_tensors(then / WEIGHTS), read_tensors(now / WEIGHTS)
    if before.keys() != after.keys() or any(before[name].shape != after[name].shape for name in before):
        print("the weights differ in their names or shapes: the policy is composed otherwise now")
    elif all(bool((before[name] == after[name]).all()) for name in before):
        print(f"the weights in {now} are the same, to the bit")
    else:
        apart = max(
            float((before[name].double() - after[name].double()).abs().max()) for name in before if before[name].numel()
        )
        print(f"the weights in {now} differ by at most {apart:.3g}")
