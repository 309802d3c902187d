"""Steps of a command that are other commands, printed as they are run."""

from __future__ import annotations

import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.markup import escape

from forehand.errors import ForehandError
from forehand_apps.cli import INTERRUPTED

CONSOLE = Console(stderr=True, highlight=False)


class StepFailed(ForehandError):
    """One of a command's steps failed."""


def step_arguments(words: Sequence[str]) -> list[str]:
    """The arguments of a process that carries out ``forehand`` with these words, which are printed."""
    CONSOLE.print(f"[bold green]$ forehand[/] {escape(shlex.join(words))}", soft_wrap=True)
    return [sys.executable, "-m", "forehand_apps", *words]


def run_step(words: Sequence[str], again: str, environment: Mapping[str, str] | None = None) -> None:
    """Carry out ``forehand`` with these words; raises as :func:`require_success`."""
    ended = subprocess.run(step_arguments(words), stdout=sys.stderr, check=False, env=environment)
    require_success(ended.returncode, words, again)


def require_success(status: int, words: Sequence[str], again: str, details: str = "") -> None:
    """Raise KeyboardInterrupt for a step that was interrupted, :class:`StepFailed` for one that failed.

    again: a sentence that says how to continue.
    """
    if status == INTERRUPTED:
        raise KeyboardInterrupt(f"Interrupted. {again}")
    if status:
        raise StepFailed(f"forehand {shlex.join(words)} failed (status {status}). {details or again}".strip())
