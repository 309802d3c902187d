"""One robot for one client at a time, in the process that owns the hardware or the simulator."""

from __future__ import annotations

import logging
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from forehand.contract import require_fit
from forehand.limited_robot import LimitedRobot
from forehand.robot import Robot
from forehand.wire.clients import Limits
from forehand.wire.convert import (
    Payload,
    action_from_payload,
    contract_from_payload,
    episode_from_payload,
    need,
    observation_to_payload,
)
from forehand.wire.endpoint import GRACE, Endpoint, Request
from forehand.wire.errors import Busy, UnknownSession, WireError
from forehand.wire.jobs import Job, JobQueue
from forehand.wire.meter import Meter

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class _Command(Job):
    call: Callable[[], Payload]
    moves: bool


class RobotStopped(WireError):
    """The robot came to rest for good, because nobody had driven it for too long."""


class RobotHost(Endpoint):
    """Serves ``robot`` at ``address``; call :meth:`run`, which connects it first and closes it at the end.

    The robot is only ever touched by one thread of the host, ``connect`` and ``close`` included, and every command is
    brought inside the limits of its contract. ``watchdog``: seconds without a command after which a robot that may be
    moving is told to hold; ``stop``: seconds of holding so after which it is told to stop, and moves no more until it is
    reset; ``release``: seconds of silence after which another client may take the robot from the one that holds it.
    """

    role: ClassVar[str] = "robot"

    def __init__(
        self,
        robot: Robot,
        address: str,
        *,
        watchdog: float = 1.0,
        stop: float = 30.0,
        release: float = 10.0,
        insecure: bool = False,
        limits: Limits | None = None,
        meter: Meter | None = None,
    ) -> None:
        super().__init__(address, insecure=insecure, limits=limits, meter=meter)
        self._robot = LimitedRobot(robot)
        self._watchdog = watchdog
        self._stop = stop
        self._release = release
        self._commands: JobQueue[_Command] = JobQueue()
        self._connected = threading.Event()
        self._failure: Exception | None = None
        self._hold_at: float | None = None
        self._stop_at: float | None = None
        self._stopped = False
        self._working = False
        self._holder: str | None = None
        self._holder_client = b""
        self._holder_heard = 0.0
        self._thread = threading.Thread(target=self._work, name="robot", daemon=True)
        self._handlers |= {
            "open": self._open,
            "reset": partial(self._command, self._reset, moves=True),
            "observe": partial(self._command, self._observe, moves=False),
            "act": partial(self._command, self._act, moves=True),
            "step": partial(self._command, self._step, moves=True),
            "hold": partial(self._command, self._hold, moves=False),
            "close": self._close_session,
        }

    def greet(self, payload: Payload) -> Payload:
        """Refuse a client whose policy this robot does not fit; a client that states nothing compares by itself."""
        if (theirs := need(payload, "contract", dict, type(None))) is not None:
            needed = contract_from_payload(theirs)
            require_fit(needed, self._robot.contract, "the policy", f"the robot at {self.address}")
        return {"contract": self._robot.contract.to_dict(), "facts": {"robot": type(self._robot.robot).__name__}}

    def start_work(self) -> None:
        """Connect the robot; what it raises is raised here."""
        self._thread.start()
        self._connected.wait()
        if self._failure:
            raise self._failure

    def drain_work(self) -> None:
        """Refuse what waits, so that nothing moves any more; the running command ends, and the robot holds."""
        self._commands.close()

    def is_working(self) -> bool:
        """Whether the robot is not closed yet."""
        return self._thread.is_alive()

    def finish_work(self) -> None:
        """Give up on a robot that does not return."""
        self._commands.close()
        self._thread.join(0.1)
        if self._thread.is_alive():
            log.error("the robot did not return within %.0f s, so it was not closed", GRACE)

    def tick(self, now: float) -> None:
        """Answer requests that waited too long."""
        self._commands.expire(now)

    def lost(self, client: bytes) -> None:
        """Who drove is gone: hold, without waiting for the watchdog."""
        if self._holder and client == self._holder_client and self._hold_at is not None:
            log.warning("whoever drove is gone: the robot holds")
            now = time.monotonic()
            call = partial(self._hold, {})
            self._commands.put(_Command("hold", self._holder, now, now + GRACE, lambda _: None, call, moves=False))

    def _open(self, request: Request) -> None:
        now = time.monotonic()
        holder = self._clients.get(self._holder_client)
        heard = holder.last_heard if holder and holder.heartbeat else 0.0
        silent = now - max(self._holder_heard, heard)
        if self._holder and (self._working or silent < self._release):
            raise Busy(
                f"The robot at {self.address} is held by another client, last heard {silent:.1f} s ago. It is free "
                f"when that one closes, or after {self._release:g} s of its silence."
            )
        self._holder, self._holder_heard, self._holder_client = secrets.token_hex(16), now, request.client
        log.info("the robot is held by a new client")
        self.finish(request, {"session": self._holder})

    def _close_session(self, request: Request) -> None:
        """The robot holds before anyone else can ask anything of it."""
        self._require_holder(request)
        self._command(self._hold, request, moves=False)
        self._holder = None

    def _command(self, carry_out: Callable[[Payload], Payload], request: Request, *, moves: bool) -> None:
        self._require_holder(request)
        message = request.message
        self._commands.put(
            _Command(
                name=message.kind,
                session=message.session or "",
                received=request.received,
                deadline=request.deadline,
                done=partial(self.finish, request),
                call=partial(carry_out, message.payload),
                moves=moves,
            )
        )

    def _require_holder(self, request: Request) -> None:
        if self._holder is None or request.message.session != self._holder:
            raise UnknownSession(
                f"The robot at {self.address} is not held by session {request.message.session!r}: it was closed, given "
                f"to another client after {self._release:g} s of silence, or the host was restarted. Open a new one."
            )
        self._holder_heard, self._holder_client = time.monotonic(), request.client

    def _work(self) -> None:
        """The robot's thread: commands in turn, and the watchdog while none comes."""
        try:
            self._robot.connect()
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
                self._hold_by_itself()
            if self._stop_at is not None and now >= self._stop_at:
                self._stop_by_itself()
        if self._hold_at is not None:
            self._hold_by_itself()
        try:
            self._robot.close()
        except Exception:
            log.exception("the robot failed to close")

    def _patience(self) -> float | None:
        """Seconds until the watchdog has to act, if it has to."""
        dues = [due for due in (self._hold_at, self._stop_at) if due is not None]
        return max(0.0, min(dues) - time.monotonic()) if dues else None

    def _carry_out(self, command: _Command) -> None:
        self._working = True
        try:
            outcome: Payload | Exception = command.call()
        except Exception as error:
            log.exception("the robot failed at %r", command.name)
            outcome = error
        finally:
            self._holder_heard = time.monotonic()
            self._working = False
        if command.moves:  # also when it failed: nobody knows how far it came
            self._hold_at, self._stop_at = time.monotonic() + self._watchdog, None
        command.done(outcome)

    def _hold_by_itself(self) -> None:
        log.warning("no command for %g s: the robot holds", self._watchdog)
        stop_at = self._stop_at or time.monotonic() + self._stop
        try:
            self._hold({})
        except Exception:
            log.exception("the robot failed to hold; trying again in %g s", self._watchdog)
            self._hold_at = time.monotonic() + self._watchdog
        self._stop_at = stop_at

    def _stop_by_itself(self) -> None:
        log.warning("still no command after %g s: the robot stops, and moves no more until it is reset", self._stop)
        try:
            self._robot.stop()
            self._hold_at = self._stop_at = None
        except Exception:
            log.exception("the robot failed to stop; trying again in %g s", self._watchdog)
            self._stop_at = time.monotonic() + self._watchdog
        self._stopped = True

    def _reset(self, payload: Payload) -> Payload:
        episode = episode_from_payload(need(payload, "episode", dict, type(None)))
        self._stopped = False
        return {"observation": observation_to_payload(self._robot.reset(episode))}

    def _observe(self, payload: Payload) -> Payload:
        return {"observation": observation_to_payload(self._robot.observe())}

    def _act(self, payload: Payload) -> Payload:
        commanded = self._robot.act(self._action(payload))
        return {"commanded": np.asarray(commanded, dtype=np.float32)}

    def _step(self, payload: Payload) -> Payload:
        observation = self._robot.step(self._action(payload))
        return {"observation": observation_to_payload(observation)}

    def _action(self, payload: Payload) -> NDArray[np.float32]:
        if self._stopped:
            raise RobotStopped(
                f"The robot at {self.address} stopped, since no command came for {self._watchdog + self._stop:g} s. "
                f"Look after it, then reset it."
            )
        return action_from_payload(payload, self._robot.contract)

    def _hold(self, payload: Payload) -> Payload:
        self._robot.hold()
        self._hold_at = self._stop_at = None
        return {}
