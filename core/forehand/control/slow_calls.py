"""Robot wrapper that reports driver calls that do not return."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray

from forehand.control.robot_wrapper import RobotWrapper
from forehand.robot import Episode, Observation, Robot

log = logging.getLogger(__name__)


class SlowCallReporter(RobotWrapper):
    """``robot``, each of whose calls is logged, once, when it has not returned for ``patience`` seconds.

    ``patience``: by default the robot's own, :attr:`~forehand.robot.Robot.patience`. The call and its caller continue.

    For loops that wait for their robot, as evaluation and recording do; a :class:`WatchdogRobot` reports by itself.
    """

    def __init__(self, robot: Robot, patience: float | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(robot)
        self._patience = robot.patience if patience is None else patience
        self._clock = clock
        self._call: tuple[str, float] | None = None
        self._reported: tuple[str, float] | None = None
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None

    def around(self, robot: Robot) -> Robot:
        """One with the same patience around another ``robot``."""
        return SlowCallReporter(robot, self._patience, self._clock)

    def check(self) -> None:
        """Report the running call if it is time; called regularly, by a thread, from connect to close."""
        call = self._call
        if call is None or call == self._reported:
            return
        name, since = call
        if (lasted := self._clock() - since) > self._patience:
            self._reported = call
            log.error("the robot's %s() has not returned for %.1f s: whether it holds is unknown", name, lasted)

    def connect(self) -> None:
        """Connect the robot."""
        if self._thread is None:
            self._closed.clear()
            self._thread = threading.Thread(target=self._watch, name="slow calls", daemon=True)
            self._thread.start()
        with self._during("connect"):
            self.robot.connect()

    def reset(self, episode: Episode | None = None) -> Observation:
        """Reset the robot."""
        with self._during("reset"):
            return self.robot.reset(episode)

    def observe(self) -> Observation:
        """What the robot observes."""
        with self._during("observe"):
            return self.robot.observe()

    def act(self, action: NDArray[np.float32]) -> NDArray[np.float32]:
        """Have the robot carry out ``action`` (A,)."""
        with self._during("act"):
            return self.robot.act(action)

    def step(self, action: NDArray[np.float32]) -> Observation:
        """Have the robot carry out ``action`` (A,), then observe."""
        with self._during("step"):
            return self.robot.step(action)

    def hold(self) -> None:
        """Have the robot hold."""
        with self._during("hold"):
            self.robot.hold()

    def stop(self) -> None:
        """Stop the robot."""
        with self._during("stop"):
            self.robot.stop()

    def close(self) -> None:
        """Close the robot."""
        with self._during("close"):
            self.robot.close()
        self._closed.set()
        self._thread = None

    @contextmanager
    def _during(self, name: str) -> Iterator[None]:
        self._call = name, self._clock()
        try:
            yield
        finally:
            self._call = None

    def _watch(self) -> None:
        while not self._closed.wait(min(1.0, self._patience)):
            self.check()
