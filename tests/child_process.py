"""Child processes of the tests: one that hangs is aborted, and the failure shows where each of its threads stood."""

import contextlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import psutil

DEADLINE = 450.0
"""Seconds that a child process has unless a test says otherwise: less than those of a test."""


class ChildProcess(subprocess.Popen[str]):
    """A child process with a deadline, in seconds from its start; options are those of ``subprocess.Popen``.

    After its deadline, it and all that it started get SIGABRT, at which Python prints the traceback of every thread to
    the error stream, and ten seconds later SIGKILL. Whoever waits for it or reads its pipes then goes on.
    """

    def __init__(self, command: Sequence[str | Path], *, deadline: float = DEADLINE, **options: Any) -> None:
        environment = {**(options.pop("env", None) or os.environ), "PYTHONFAULTHANDLER": "1"}
        super().__init__(command, env=environment, text=True, **options)
        self.deadline = deadline
        self.hung = False
        self._ended = threading.Event()
        self._said: tuple[str, str] | None = None
        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self) -> None:
        if not self._ended.wait(self.deadline) and self.poll() is None:
            self.abort()

    def abort(self) -> None:
        """End it as one that hangs, with all that it started."""
        self.hung = True
        process = psutil.Process(self.pid)
        children = process.children(recursive=True)
        for number in (signal.SIGABRT, signal.SIGKILL):
            for member in (*children, process):
                with contextlib.suppress(psutil.NoSuchProcess):
                    member.send_signal(number)
            until = time.monotonic() + 10
            while time.monotonic() < until and (self.poll() is None or any(child.is_running() for child in children)):
                time.sleep(0.02)

    def communicate(self, input: str | None = None, timeout: float | None = None) -> tuple[str, str]:
        """What it printed until its end, however often it is asked for."""
        if self._said is None:
            self._said = super().communicate(input, timeout)
        return self._said

    def end(self) -> None:
        """Kill it if it still runs; raises AssertionError, with what it printed, if it hung."""
        self._ended.set()
        if self.poll() is None and not self.hung:
            self.kill()
        said = self.communicate()
        if self.hung:
            raise AssertionError(self._complaint(*said))

    def finish(self, text: str | None = None) -> subprocess.CompletedProcess[str]:
        """Wait for its end, with ``text`` as its input; raises AssertionError, with what it printed, if it hung."""
        try:
            said = self.communicate(text)
            if self.hung:
                raise AssertionError(self._complaint(*said))
            return subprocess.CompletedProcess(self.args, self.returncode, *said)
        finally:
            self._ended.set()
            self.kill()

    def wait_until(self, reached: Callable[[], Any]) -> None:
        """Wait until ``reached()`` is true; raises AssertionError, with what it printed, if it ends before."""
        while not reached():
            if self.poll() is not None:
                said = self.communicate()
                raise AssertionError(self._complaint(*said) if self.hung else f"ended early: {self.args}\n{said}")
            time.sleep(0.02)

    def _complaint(self, output: str | None, errors: str | None) -> str:
        return f"did not end within {self.deadline:g} s: {self.args}\n{output or ''}\n{errors or ''}"


def run_child(
    command: Sequence[str | Path], *, deadline: float = DEADLINE, check: bool = False, **options: Any
) -> subprocess.CompletedProcess[str]:
    """Run a child process to its end and return what it printed; options are those of ``ChildProcess``.

    Raises:
        AssertionError: It hung; or, with ``check``, it failed. With what it printed.
    """
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    done = ChildProcess(command, deadline=deadline, **{**pipes, **options}).finish()
    assert not (check and done.returncode), f"{done.args}\n{done.stdout}\n{done.stderr}"
    return done
