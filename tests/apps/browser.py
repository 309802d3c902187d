"""Headless Chromium over its DevTools protocol: opens a page, evaluates JavaScript, and keeps what the console says."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import re
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Any

from websockets.sync.client import connect

NAMES = ("chromium-headless-shell", "chrome-headless-shell", "chromium", "chromium-browser", "google-chrome")

PROGRAM = next((found for name in NAMES if (found := shutil.which(name))), None)
"""The browser of this computer, or None."""


class Browser:
    """One page of a browser with a profile of its own in ``folder``; its window is ``width`` × ``height``."""

    def __init__(self, folder: Path, width: int, height: int = 900) -> None:
        assert PROGRAM
        flags = ("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--remote-debugging-port=0")
        # Debian's command is a script: what it starts is ended by their group.
        self._process = subprocess.Popen(
            [PROGRAM, *flags, f"--user-data-dir={folder}", "about:blank"],
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self._numbers, self._events = itertools.count(1), list[dict[str, Any]]()
        assert self._process.stderr
        for line in self._process.stderr:
            if found := re.search(r"listening on (ws://\S+)", line):
                break
        else:
            raise RuntimeError("the browser ended at once")
        self._open = contextlib.ExitStack()
        self._socket = self._open.enter_context(connect(found[1], max_size=None))
        self._session = None
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self.call(f"{domain}.enable")
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """The answer to one command of the protocol."""
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": parameters}
        self._socket.send(json.dumps(message | ({"sessionId": self._session} if self._session else {})))
        while True:
            answer = json.loads(self._socket.recv(timeout=60))
            if answer.get("id") == number:
                assert "error" not in answer, answer
                return answer["result"]
            self._events.append(answer)

    def open(self, path: Path) -> None:
        """Open a file, and return when it is loaded."""
        self._events.clear()
        self.call("Page.navigate", url=path.resolve().as_uri())
        while not any(event.get("method") == "Page.loadEventFired" for event in self._events):
            self._events.append(json.loads(self._socket.recv(timeout=60)))

    def evaluate(self, expression: str) -> Any:
        """The value of a JavaScript expression, of a promise what it resolves to."""
        result = self.call("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in result, result["exceptionDetails"]
        return result["result"].get("value")

    @property
    def complaints(self) -> list[dict[str, Any]]:
        """Errors and warnings of the page since it was opened."""
        found = []
        for event in self._events:
            method, about = event.get("method"), event.get("params", {})
            spoken = method == "Runtime.consoleAPICalled" and about["type"] in ("error", "warning", "assert")
            logged = method == "Log.entryAdded" and about["entry"]["level"] in ("error", "warning")
            if method == "Runtime.exceptionThrown" or spoken or logged:
                found.append(about)
        return found

    def close(self) -> None:
        """End the browser, with all of its processes: one that is left plays its page's videos for ever."""
        self._open.close()
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(30)
        assert self._process.stderr
        self._process.stderr.close()
