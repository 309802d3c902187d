"""``forehand record``: an expert shows how it is done."""

from __future__ import annotations

import contextlib
import functools
import os
import shlex
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from forehand.data.assembly import assemble, check_fit, finished, recording
from forehand.data.card import write_card
from forehand.data.crew import Assignment, Crew
from forehand.data.demonstration import Noise
from forehand.data.video import Encoding
from forehand.errors import ConfigurationError


def record(config: DictConfig) -> None:
    """Record ``config.episodes`` demonstrations into a LeRobotDataset at ``config.output``."""
    assignment = read_assignment(config)
    root, console = assignment.root, Console(stderr=True)
    card = functools.partial(write_card, root, _command(config), config.license)
    with recording(root):
        there = finished(root)
        missing = [index for index in range(assignment.episodes) if index not in there]
        if missing:
            count = _record(assignment, missing, config.workers or os.cpu_count() or 1, console, card)
        else:
            count = assemble(root, assignment.robot)
            card()
    console.print(
        f"{count} episodes in {root}. Learn from them with: [bold]forehand train dataset={root}[/]", soft_wrap=True
    )


def read_assignment(config: DictConfig) -> Assignment:
    """What the configuration asks for."""
    for name, least in (("episodes", 1), ("seed", 0), ("hold_steps", 0), ("workers", 1)):
        if config[name] is not None and config[name] < least:
            raise ConfigurationError(f"record needs {name} ≥ {least}, not {config[name]}.")
    return Assignment(
        root=Path(config.output).expanduser(),
        robot=config.robot.name,
        benchmark=config.benchmark.name,
        episodes=config.episodes,
        seed=config.seed,
        robot_options=_plain(config.robot.options),
        benchmark_options=_plain(config.benchmark.options),
        tasks=None if config.tasks is None else list(config.tasks),
        noise=Noise(**_plain(config.noise)),
        hold_steps=config.hold_steps,
        encoding=Encoding(**_plain(config.video)),
    )


def _command(config: DictConfig) -> str:
    """What makes the same recording again, wherever and with however many workers."""
    said = {"episodes": f"episodes={config.episodes}", "seed": f"seed={config.seed}"}
    if HydraConfig.initialized():
        said |= {override.split("=")[0]: override for override in HydraConfig.get().overrides.task}
    told = [override for name, override in said.items() if name not in ("output", "workers", "license")]
    return f"forehand record {shlex.join([*told, f'output={Path(config.output).name}'])}"


def _record(
    assignment: Assignment, missing: Sequence[int], workers: int, console: Console, card: Callable[[], None]
) -> int:
    """Record the ``missing`` episodes; whatever happens, those that are finished are put together. Returns how many."""
    interrupted = False
    try:
        with Crew(assignment, missing, workers) as crew:
            check_fit(assignment.root, crew.contract)
            interrupted = _follow(crew, assignment.episodes - len(missing), assignment.episodes, console)
    finally:
        count = assemble(assignment.root, assignment.robot)
        if count:
            card()
    if interrupted and count < assignment.episodes:
        raise KeyboardInterrupt(
            f"Interrupted. {count} of {assignment.episodes} episodes are in {assignment.root} and can be used as they "
            f"are; the same command goes on from there."
        )
    return count


def _follow(crew: Crew, done: int, total: int, console: Console) -> bool:
    """Show how recording goes on; returns whether it was interrupted."""
    columns = (TextColumn("recording"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rate]}"))
    with (
        Progress(*columns, TimeElapsedColumn(), TimeRemainingColumn(), console=console) as progress,
        _interruptible(crew, console) as interrupted,
    ):
        bar = progress.add_task("recording", total=total, completed=done, rate="")
        start, failures = time.monotonic(), 0
        for count, saved in enumerate(crew.record(), start=1):
            failures += saved.failures
            rate = f"{count / (time.monotonic() - start):.1f} episodes/s"
            rate += f", {failures} failures replaced" if failures else ""
            progress.update(bar, advance=1, rate=rate)
    return interrupted.is_set()


@contextlib.contextmanager
def _interruptible(crew: Crew, console: Console) -> Iterator[threading.Event]:
    """Ctrl-C lets the episodes under way come to their end; a second one does not wait for them."""
    interrupted = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield interrupted
        return

    def interrupt(*_: object) -> None:
        if interrupted.is_set():
            raise KeyboardInterrupt
        interrupted.set()
        crew.stop()
        console.print("[yellow]Finishing the episodes under way. Ctrl-C again to leave them.[/]")

    before = {number: signal.signal(number, interrupt) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield interrupted
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _plain(config: DictConfig | None) -> dict[str, Any]:
    plain = OmegaConf.to_container(config, resolve=True) if config is not None else {}
    assert isinstance(plain, dict)
    return {str(key): value for key, value in plain.items()}
