"""Start of several processes that train together, by torchrun's own agent."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import torch
from omegaconf import DictConfig
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, ProcessFailure, get_error_handler
from torch.distributed.run import get_args_parser
from torch.distributed.run import run as torchrun

from forehand.errors import ConfigurationError, ForehandError
from forehand.learning.distributed.processes import launched
from forehand.utils.signals import stopped_by_signals
from forehand_apps.cli.execution import INTERRUPTED, PREEMPTED, SILENT_VARIABLE
from forehand_apps.cli.job_command import job_command
from forehand_apps.jobs.nodes import nodes_of


class ProcessFailed(ForehandError):
    """A process of several that train together ended; the others were ended with it."""


class PeerLost(ForehandError):
    """The connection to another process broke, which says itself what ended it."""


def processes_to_start(launch: DictConfig, device: torch.device) -> int:
    """How many processes ``launch`` starts on this computer; 0: none, this one trains. Raises ConfigurationError."""
    if launched():
        return 0
    count = launch.processes
    if count == "auto":
        count = max(1, torch.accelerator.device_count()) if device.type != "cpu" else 1
    if isinstance(count, bool) or not isinstance(count, int) or count < 1:
        raise ConfigurationError(f"launch.processes must be a positive whole number, or auto, not {count!r}.")
    if device.type != "cpu" and count > torch.accelerator.device_count():
        raise ConfigurationError(
            f"launch.processes={count}, and there are {torch.accelerator.device_count()} devices of the kind "
            f"{device.type} here. Start at most as many, or take device=cpu."
        )
    return count if count > 1 or nodes_of(launch).count > 1 else 0


def train_by_processes(config: DictConfig, output: Path, count: int) -> None:
    """Carry out this command by ``count`` processes on this computer. Raises :class:`ProcessFailed`.

    Signals are handed on to them: they save together, and end.
    """
    where = ["--standalone"]
    handled = "--signals-to-handle=SIGHUP"  # the others are handed on here, without a limit of time
    nodes = nodes_of(config.launch)
    if nodes.rendezvous is not None:
        host, _, port = nodes.rendezvous.rpartition(":")
        where = [f"--nnodes={nodes.count}", f"--node-rank={nodes.rank}"]
        where += [f"--master-addr={host}", f"--master-port={port}"]
    arguments = [
        *where,
        handled,
        f"--nproc-per-node={count}",
        "-m",
        "forehand_apps",
        "train",
        *job_command("train", output)[1:],
        f"output={output}",  # it may hold the time of day
        f"resume={str(config.resume).lower()}",  # jobs of a sweep go on by themselves
    ]
    threads = config.threads or max(1, (os.cpu_count() or 1) // count)
    os.environ.setdefault("OMP_NUM_THREADS", str(threads))
    os.environ[SILENT_VARIABLE] = "1"
    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)
    with stopped_by_signals(_stop_children, forced_by=[signal.SIGINT]):
        try:
            torchrun(get_args_parser().parse_args(arguments))
        except ChildFailedError as error:
            raise _reason(error, count * nodes.count, output) from None
        finally:
            del os.environ[SILENT_VARIABLE]  # which is for the others


def _stop_children() -> None:
    for child in psutil.Process().children():
        child.send_signal(signal.SIGTERM)


def _reason(error: ChildFailedError, count: int, output: Path) -> BaseException:
    rank, failure = min(error.failures.items(), key=lambda found: _rank_of(found[1]))
    message = _message(failure)
    if failure.exitcode in (INTERRUPTED, PREEMPTED):
        return KeyboardInterrupt(message.partition(": ")[2])
    if failure.exitcode < 0:
        name = signal.Signals(-failure.exitcode).name
        message = f"it was ended by {name}" + (", as the system does where memory is short" if name == "SIGKILL" else "")
    return ProcessFailed(
        f"Process {rank} of {count} ended, and all with it: {message}\n"
        f"The same command with output={output} resume=true continues from the newest checkpoint, if there is one."
    )


def _rank_of(failure: ProcessFailure) -> tuple[bool, bool, int]:
    """Sorts what was the cause before what followed from it."""
    return PeerLost.__name__ in _message(failure), failure.exitcode == -signal.SIGTERM, failure.timestamp


def _message(failure: ProcessFailure) -> str:
    data: Any = failure.error_file_data.get("message", "") if failure.error_file_data else ""
    return str(data.get("message", "") if isinstance(data, dict) else data) or f"exit status {failure.exitcode}"


@contextmanager
def reported() -> Iterator[None]:
    """What ends a process that a launcher started is written where the launcher finds it."""
    if not launched():
        yield
        return
    try:
        yield
    except BaseException as error:
        lost = isinstance(error, RuntimeError) and (
            "gloo" in str(error) or isinstance(error, torch.distributed.DistError)
        )
        if lost:
            error = PeerLost("The connection to another process broke; that one says what ended it.")
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # which the launcher sends to those that are left
        get_error_handler().record_exception(error)
        raise error from None if lost else error.__cause__
