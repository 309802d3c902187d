"""The one thread that may touch a robot, which brings it to rest by itself while nobody commands."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from forehand.errors import ForehandError
from forehand.robot import Episode, Observation, Robot
from forehand.wire.errors import WireError
from forehand.wire.jobs import Job, JobQueue

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Command(Job):
    """Something to do with the robot, in its thread; ``moves``: it may be moving afterwards."""

    call: Callable[[], dict[str, Any]]
    moves: bool


class RobotStopped(WireError):
    """The robot came to rest for good, because nobody had driven it for too long."""


class Keeper:
    """Carries out commands for ``robot`` in turn, ``connect`` and ``close`` included.

    ``watchdog``: seconds without a command after which a robot that may be moving is told to hold; ``stop``: seconds of
    holding so after which it is told to stop, and moves no more until it is reset. One that was only reset just holds.
    ``told``: called with each command that was carried out and the seconds that it took.
    """

    def __init__(
        self, robot: Robot, watchdog: float, stop: float, told: Callable[[Command, float], None] = lambda *_: None
    ) -> None:
        self.robot = robot
        self.holds = 0
        """How often the robot was told to hold by nobody but its watchdog."""
        self.stopped = False
        self.working = False
        """Whether a command is being carried out."""
        self._watchdog, self._stop, self._told = watchdog, stop, told
        self._driven = False  # since its last reset
        self._commands: JobQueue[Command] = JobQueue()
        self._connected = threading.Event()
        self._failure: Exception | None = None
        self._hold_at: float | None = None
        self._stop_at: float | None = None
        self._thread = threading.Thread(target=self._work, name="robot", daemon=True)
        self.put = self._commands.put
        self.expire = self._commands.expire
        self.close = self._commands.close

    def __len__(self) -> int:
        return len(self._commands)

    def start(self) -> None:
        """Connect the robot; what it raises is raised here."""
        self._thread.start()
        self._connected.wait()
        if self._failure:
            raise self._failure

    @property
    def moving(self) -> bool:
        """Whether the robot may be moving."""
        return self._hold_at is not None

    def is_alive(self) -> bool:
        """Whether the robot is not closed yet."""
        return self._thread.is_alive()

    def join(self, timeout: float | None = None) -> None:
        """Wait until the robot is closed; ask to :meth:`close` first, which lets the running command end."""
        self._thread.join(timeout)

    def reset(self, episode: Episode | None) -> Observation:
        """Wake and reset the robot; only within a command, like the next two."""
        self.stopped = self._driven = False
        return self.robot.reset(episode)

    def hold(self) -> None:
        """Let the robot hold, so that there is nothing to watch over."""
        self.robot.hold()
        self._hold_at = self._stop_at = None

    def drive(self) -> None:
        """Before every motion: raises :class:`RobotStopped` for a robot that was stopped and not reset since."""
        if self.stopped:
            raise RobotStopped(
                f"The robot stopped, since no command came for {self._watchdog + self._stop:g} s. Look after it, then "
                f"reset it."
            )
        self._driven = True

    def _work(self) -> None:
        try:
            self.robot.connect()
        except Exception as error:
            self._failure = error
            return
        finally:
            self._connected.set()
        while (commands := self._commands.take(lambda waiting: waiting[:1], self._patience())) is not None:
            for command in commands:
                self._carry_out(command)
            now = time.monotonic()
            if self._hold_at is not None and now >= self._hold_at:
                log.warning("no command for %g s: the robot holds", self._watchdog)
                self.holds += 1
                self._hold_by_itself()
            if self._stop_at is not None and now >= self._stop_at:
                self._stop_by_itself()
        if self._hold_at is not None:
            self._hold_by_itself()
        try:
            self.robot.close()
        except Exception:
            log.exception("the robot failed to close")

    def _patience(self) -> float | None:
        """Seconds until the watchdog has to act, if it has to."""
        dues = [due for due in (self._hold_at, self._stop_at) if due is not None]
        return max(0.0, min(dues) - time.monotonic()) if dues else None

    def _carry_out(self, command: Command) -> None:
        started = time.monotonic()
        self.working = True
        try:
            outcome: dict[str, Any] | Exception = command.call()
        except Exception as error:
            if not isinstance(error, ForehandError):
                log.exception("the robot failed at %r", command.name)
            outcome = error
        now = time.monotonic()
        if command.moves:  # also when it failed: nobody knows how far it came
            self._hold_at, self._stop_at = now + self._watchdog, None
        self._told(command, now - started)
        self.working = False
        command.done(outcome)

    def _hold_by_itself(self) -> None:
        stop_at = self._stop_at or (time.monotonic() + self._stop if self._driven else None)
        try:
            self.hold()
        except Exception:
            log.exception("the robot failed to hold; trying again in %g s", self._watchdog)
            self._hold_at = time.monotonic() + self._watchdog
        self._stop_at = stop_at

    def _stop_by_itself(self) -> None:
        log.warning("still no command after %g s: the robot stops, and moves no more until it is reset", self._stop)
        try:
            self.robot.stop()
            self._hold_at = self._stop_at = None
        except Exception:
            log.exception("the robot failed to stop; trying again in %g s", self._watchdog)
            self._stop_at = time.monotonic() + self._watchdog
        self.stopped = True
