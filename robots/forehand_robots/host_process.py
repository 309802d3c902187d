"""Host process: a robot host that another process starts, in an environment of its own, and ends."""

from __future__ import annotations

import json
import os
import selectors
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from forehand.environments import find
from forehand.errors import RobotLost

PROGRAM = ("-m", "forehand_robots.hosting")
END = 15.0
"""Seconds that the process may take to end by itself."""

LINES = 12
"""Of the last words of a process that died."""


class HostProcess:
    """A process that hosts ``robot``, made with ``options``, until :meth:`end`.

    ``environment``: its name or folder; None: this Python. The process also ends when this one does, however that
    happens, and gets no Ctrl-C from the terminal. ``timeout``: seconds in which the robot has to be connected. Raises
    :class:`~forehand.errors.RobotLost` with the process's last words where it does not come up.
    """

    def __init__(self, robot: str, options: Mapping[str, Any], environment: str | None, timeout: float) -> None:
        python = Path(sys.executable) if environment is None else find(environment).executable
        apart = () if environment is None else ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")
        self.address = ""
        self._what = f"the robot {robot!r}" + ("" if environment is None else f" in the environment {environment!r}")
        self._words = tempfile.TemporaryFile()  # noqa: SIM115  (closed in end)
        self._process = subprocess.Popen(
            [python, *PROGRAM],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._words,
            env={name: value for name, value in os.environ.items() if name not in apart},
            start_new_session=True,
        )
        try:
            self._begin(json.dumps({"robot": robot, "options": dict(options)}), timeout)
        except BaseException:
            self.end()
            raise

    @property
    def process_id(self) -> int:
        """Its id."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self._process.poll() is None

    def memory(self) -> float:
        """GiB of memory that it holds now; 0 where that is unknown."""
        try:
            pages = Path(f"/proc/{self.process_id}/statm").read_text().split()[1]
            return int(pages) * os.sysconf("SC_PAGE_SIZE") / 2**30
        except (OSError, IndexError):
            listed = subprocess.run(["ps", "-o", "rss=", "-p", str(self.process_id)], capture_output=True, text=True)
            return int(listed.stdout.strip() or 0) / 2**20

    def last_words(self) -> str:
        """How it ended, if it did, and the last lines that it printed."""
        state = self._process.poll()
        self._words.seek(0)
        lines = self._words.read()[-20_000:].decode(errors="replace").strip().splitlines()[-LINES:]
        how = "The process runs" if state is None else f"The process ended with status {state}"
        return f"{how}. Its last words:\n" + "\n".join(f"  {line}" for line in lines) if lines else f"{how}."

    def end(self) -> None:
        """End it: the robot is closed; a process that does not end by itself is killed."""
        assert self._process.stdin
        assert self._process.stdout
        with suppress(OSError):
            self._process.stdin.close()
        for stop in (self._process.terminate, self._process.kill):
            try:
                self._process.wait(END)
                break
            except subprocess.TimeoutExpired:
                stop()
        self._process.wait()
        self._process.stdout.close()
        self._words.close()

    def _begin(self, asked: str, timeout: float) -> None:
        assert self._process.stdin
        assert self._process.stdout
        with suppress(BrokenPipeError):  # it ended, which is seen below
            self._process.stdin.write(asked.encode() + b"\n")
            self._process.stdin.flush()
        deadline, answer = time.monotonic() + timeout, b""
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            while not answer.endswith(b"\n"):
                if not selector.select(max(0.0, deadline - time.monotonic())):
                    raise RobotLost(f"{self._what} was not connected within {timeout:g} s. {self.last_words()}")
                if not (read := os.read(self._process.stdout.fileno(), 4096)):
                    with suppress(subprocess.TimeoutExpired):
                        self._process.wait(END)
                    raise RobotLost(f"{self._what} could not be connected. {self.last_words()}")
                answer += read
        self.address = json.loads(answer)["address"]
