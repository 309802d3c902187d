"""Program of a host process: hosts one robot for the process that started it, and ends with that.

``python -m forehand_robots.hosting`` reads ``{"robot": …, "options": {…}}``, a line of JSON, from standard input,
connects the robot, and answers ``{"address": …}`` on standard output, which nothing else can write to. It serves until
standard input ends: then its parent has closed it, or is no more.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import threading
import time

from forehand import registry
from forehand.wire import RobotHost

FOREVER = 1e9
"""Seconds: the world of a simulator stands still between steps, so that nothing needs to be held."""

GRACE = 10.0
"""Seconds that the robot may take to close, once standard input has ended."""


class _Host(RobotHost):
    """Says its address once the robot is connected."""

    answers: int

    def start_work(self) -> None:
        super().start_work()
        os.write(self.answers, json.dumps({"address": self.address}).encode() + b"\n")
        threading.Thread(target=self._end_with_parent, daemon=True).start()

    def _end_with_parent(self) -> None:
        while os.read(0, 4096):
            pass
        self.stop()
        time.sleep(GRACE)
        os._exit(1)  # the simulator does not return


def main() -> None:
    """Host the robot that standard input names."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(levelname)s %(message)s")
    asked = json.loads(_line(0))
    answers = os.dup(1)
    os.dup2(2, 1)  # what a simulator prints is no answer
    robot = registry().create("robot", asked["robot"], **asked["options"])
    host = _Host(robot, "tcp://127.0.0.1:0", watchdog=FOREVER, stop=FOREVER)
    host.answers = answers
    host.run()


def _line(descriptor: int) -> bytes:
    found = b""
    while not found.endswith(b"\n"):
        if not (byte := os.read(descriptor, 1)):
            sys.exit("This program is started by the robot 'hosted'.")
        found += byte
    return found


if __name__ == "__main__":
    main()
