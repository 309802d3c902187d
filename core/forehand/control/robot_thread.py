"""Robot thread: the only thread that calls a driver; its watchdog stops the robot when commands cease."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from forehand.control.job_queue import Job, JobQueue, too_late
from forehand.errors import ForehandError, RobotStopped, Superseded, contained
from forehand.robot import Episode, Observation, Robot
from forehand.utils.clock import clock

log = logging.getLogger(__name__)

SLOW = {"connect": 10.0, "reset": 10.0, "close": 10.0}
"""Seconds that these may take without being reported, even where the watchdog is shorter."""


@dataclass(frozen=True, eq=False)
class Command(Job):
    """Something to do with the robot, in its thread.

    ``moves``: it may be moving afterwards; ``begin_by``: until when it may begin, on this machine's
    :func:`~forehand.utils.clock.clock`.
    """

    call: Callable[[], dict[str, Any]]
    moves: bool
    begin_by: float = math.inf

    def is_late(self, now: float) -> bool:
        """Whether it may not begin any more."""
        return super().is_late(now) or self.begin_by <= clock()


class RobotThread:
    """Carries out commands for ``robot`` in turn, ``connect`` and ``close`` included.

    ``watchdog``: seconds without a command after which a robot that may be moving holds; ``stop``: seconds of such a
    hold after which it stops, until it is reset. After a reset alone it holds, but does not stop.
    ``on_done``: called with each command that was carried out and the seconds that it took;
    ``clock``: the time in seconds by which the watchdog acts and commands expire.
    """

    def __init__(
        self,
        robot: Robot,
        watchdog: float,
        stop: float,
        on_done: Callable[[Command, float], None] = lambda *_: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.robot = robot
        self.holds = 0
        """How often the watchdog made the robot hold."""
        self.doing: tuple[str, float] | None = None
        """The call of the robot that has not returned, and since when (monotonic seconds)."""
        self._reported: tuple[str, float] | None = None
        self._watchdog, self._stop, self._on_done = watchdog, stop, on_done
        self._driven = False  # since its last reset
        self._stopped: str | None = None  # why, since its last reset
        self._command: Command | None = None  # the one that is being carried out
        self._clock = clock
        self._commands: JobQueue[Command] = JobQueue(clock)
        self._connected = threading.Event()
        self._failure: Exception | None = None
        self._hold_at: float | None = None
        self._stop_at: float | None = None
        self._thread = threading.Thread(target=self._work, name="robot", daemon=True)
        self.submit = self._commands.submit
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
        return self._hold_at is not None or (self.stopped and self._stop_at is not None)

    @property
    def at_rest(self) -> bool:
        """Whether the robot is known to hold, or was never moved."""
        doing = self.doing
        return not self.moving and (doing is None or doing[0] == "close")

    def stuck(self, now: float) -> float:
        """Seconds (monotonic) that the robot has not returned for; longer than its watchdog is logged, once."""
        doing = self.doing
        if doing is None:
            return 0.0
        name, since = doing
        if now - since > max(self._watchdog, SLOW.get(name, 0.0)) and self._reported != doing:
            self._reported = doing
            log.error("the robot's %s() has not returned for %.1f s: whether it holds is unknown", name, now - since)
        return now - since

    @property
    def stopped(self) -> bool:
        """Whether the robot moves no more until it is reset."""
        return self._stopped is not None

    def supersede(self, by: str) -> None:
        """Refuse the motions that still wait; ``by``: the newer request, in words."""
        self._commands.withdraw(
            lambda command: command.moves,
            lambda command: Superseded(f"{command.name!r} was not carried out: before it began, {by}."),
        )

    def is_alive(self) -> bool:
        """Whether the robot is not closed yet."""
        return self._thread.is_alive()

    def join(self, timeout: float | None = None) -> None:
        """Wait until the robot is closed; call :meth:`close` first, which lets the running command end."""
        self._thread.join(timeout)

    def reset(self, episode: Episode | None) -> Observation:
        """End a stop, and reset the robot; only within a command, like the next three."""
        self._require_time()
        self._stopped, self._driven = None, False
        return self.robot.reset(episode)

    def hold(self) -> None:
        """Let the robot hold, which ends the watchdog's times; a stopped robot stays stopped."""
        if self.stopped and self._stop_at is None:
            return
        self.robot.hold()
        if not self.stopped:
            self._hold_at = self._stop_at = None

    def stop(self, reason: str = "on request") -> None:
        """Let the robot stop until it is reset. If that fails, the watchdog tries again."""
        self._stopped = reason
        self._hold_at, self._stop_at = None, self._clock() + self._watchdog
        self.robot.stop()
        self._stop_at = None

    def require_running(self) -> None:
        """Check that a motion may start; called directly before it.

        Raises :class:`RobotStopped` for a robot that was stopped and not reset since, and
        :class:`~forehand.errors.DeadlineExceeded` where the command's time ran out.
        """
        if self.stopped:
            raise RobotStopped(f"The robot stopped, {self._stopped}. Look after it, then reset it.")
        self._require_time()
        self._driven = True

    def _require_time(self) -> None:
        if self._command and self._command.is_late(self._clock()):
            raise too_late(self._command)

    def _work(self) -> None:
        self.doing = "connect", self._clock()
        try:
            self.robot.connect()
        except BaseException as error:  # an SDK may end its thread, with SystemExit; that is a failure like any other
            self._failure = contained(error, "The robot's connect()")
            return
        finally:
            self.doing = None
            self._connected.set()
        while (commands := self._commands.take(lambda waiting: waiting[:1], self._timeout())) is not None:
            for command in commands:
                self._carry_out(command)
            now = self._clock()
            if self._hold_at is not None and now >= self._hold_at:
                log.warning("no command for %g s: the robot is to hold", self._watchdog)
                self.holds += 1
                self._hold_by_itself()
            if self._stop_at is not None and now >= self._stop_at:
                self._stop_by_itself()
        if self.moving:
            self._hold_by_itself()
        self.doing = "close", self._clock()
        try:
            self.robot.close()
        except BaseException:
            log.exception("the robot failed to close")
        self.doing = None

    def _timeout(self) -> float | None:
        """Seconds until the watchdog has to act, if it has to."""
        dues = [due for due in (self._hold_at, self._stop_at) if due is not None]
        return max(0.0, min(dues) - self._clock()) if dues else None

    def _carry_out(self, command: Command) -> None:
        started = self._clock()
        self.doing = command.name, started
        self._command = command
        try:
            outcome: dict[str, Any] | Exception = command.call()
        except BaseException as error:  # also SystemExit: without this thread nothing would let the robot hold
            if not isinstance(error, ForehandError):
                log.exception("the robot failed at %r", command.name)
            outcome = contained(error, f"The robot's {command.name}()")
        now = self._clock()
        if command.moves and not self.stopped:  # also when it failed: how far it came is unknown
            self._hold_at, self._stop_at = now + self._watchdog, None
        self._on_done(command, now - started)
        self.doing = None
        self._command = None
        command.done(outcome)

    def _hold_by_itself(self) -> None:
        stop_at = self._stop_at or (self._clock() + self._stop if self._driven else None)
        self.doing = "hold", self._clock()
        try:
            self.hold()
        except BaseException:
            log.exception("the robot failed to hold, whether it moves is unknown; trying again in %g s", self._watchdog)
            self._hold_at = self._clock() + self._watchdog
        self.doing = None
        self._stop_at = stop_at

    def _stop_by_itself(self) -> None:
        reason = self._stopped or f"since no command came for {self._watchdog + self._stop:g} s"
        log.warning("the robot is to stop, %s; it moves no more until it is reset", reason)
        self.doing = "stop", self._clock()
        try:
            self.stop(reason)
        except BaseException:
            log.exception("the robot failed to stop; trying again in %g s", self._watchdog)
        self.doing = None
