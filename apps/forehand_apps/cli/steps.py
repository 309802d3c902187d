"""Steps of a command that are other commands, printed as they are run."""

from __future__ import annotations

import shlex
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.markup import escape

from forehand.errors import ForehandError
from forehand.utils.signals import PREEMPTIONS, REQUESTS, handled_by
from forehand_apps.cli.execution import INTERRUPTED
from forehand_apps.cli.preemption import Preempted

CONSOLE = Console(stderr=True, highlight=False)


class StepFailed(ForehandError):
    """One of a command's steps failed."""


def step_arguments(words: Sequence[str]) -> list[str]:
    """The arguments of a process that carries out ``forehand`` with these words, which are printed."""
    CONSOLE.print(f"[bold green]$ forehand[/] {escape(shlex.join(words))}", soft_wrap=True)
    return [sys.executable, "-m", "forehand_apps", *words]


def run_step(words: Sequence[str], again: str, environment: Mapping[str, str] | None = None) -> None:
    """Carry out ``forehand`` with these words; raises as :func:`require_success`.

    SIGTERM and signals of preemption are passed on; Ctrl-C reaches the step from the terminal, and a second one is passed
    on. However long it takes the step to stop, it is waited for; then KeyboardInterrupt or :class:`.Preempted` is raised.
    """
    received: list[int] = []
    process: subprocess.Popen[bytes] | None = None

    def pass_on(number: int, frame: object) -> None:
        if process is not None and (number != signal.SIGINT or number in received):
            process.send_signal(number)
        received.append(number)

    with handled_by(pass_on, (*REQUESTS, *PREEMPTIONS)):
        process = subprocess.Popen(step_arguments(words), stdout=sys.stderr, env=environment)
        for number in received:  # what came before there was a step
            process.send_signal(number)
        status = process.wait()
    if received and status:
        raise (Preempted if received[0] in PREEMPTIONS else KeyboardInterrupt)(f"Interrupted. {again}")
    require_success(status, words, again)


def require_success(status: int, words: Sequence[str], again: str, details: str = "") -> None:
    """Raise KeyboardInterrupt for a step that was interrupted, :class:`StepFailed` for one that failed.

    again: a sentence that says how to continue.
    """
    if status == INTERRUPTED:
        raise KeyboardInterrupt(f"Interrupted. {again}")
    if status:
        raise StepFailed(f"forehand {shlex.join(words)} failed (status {status}). {details or again}".strip())
