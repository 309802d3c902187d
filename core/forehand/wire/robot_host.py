"""Robot host: one robot for one client at a time, in the process that owns the hardware or simulator."""

from __future__ import annotations

import logging
import math
import secrets
import time
from collections.abc import Callable
from functools import partial
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from forehand.contracts.compatibility import require_fit
from forehand.control.job_queue import Outcome
from forehand.control.limited_robot import LimitedRobot
from forehand.control.robot_thread import Command, RobotThread
from forehand.errors import Busy, DeadlineExceeded, ProtocolError, UnknownSession
from forehand.robot import Robot
from forehand.utils.clock import StandstillDetector, clock
from forehand.utils.numbers import not_negative, positive
from forehand.wire.clients import HEARTBEAT_TIMEOUT, ClientQuotas
from forehand.wire.dispatcher import Request
from forehand.wire.endpoint import DRAIN_TIMEOUT, Endpoint
from forehand.wire.metrics import Metrics
from forehand.wire.serialize import (
    Payload,
    action_from_payload,
    contract_from_payload,
    episode_from_payload,
    observation_to_payload,
    require,
)

log = logging.getLogger(__name__)


class RobotHost(Endpoint):
    """Serves ``robot`` at ``address``; call :meth:`run`, which connects it first and closes it at the end.

    The robot is only ever touched by one thread of the host, ``connect`` and ``close`` included, and every command is
    brought inside the limits of its contract. ``watchdog``: seconds without a command after which a robot that may be
    moving holds; ``stop``: seconds of holding so after which it is stopped, and moves no more until it is
    reset; ``lease_timeout``: seconds of silence after which another client may take the robot from the one that holds it.
    """

    role: ClassVar[str] = "robot"

    def __init__(
        self,
        robot: Robot,
        address: str,
        *,
        watchdog: float = 1.0,
        stop: float = 30.0,
        lease_timeout: float = 10.0,
        insecure: bool = False,
        limits: ClientQuotas | None = None,
        metrics: Metrics | None = None,
    ) -> None:
        positive(watchdog=watchdog)
        not_negative(stop=stop, lease_timeout=lease_timeout)
        super().__init__(address, insecure=insecure, limits=limits, metrics=metrics)
        self._robot = LimitedRobot(robot)
        self._thread = RobotThread(self._robot, watchdog, stop, self._on_done)
        self._lease_timeout = lease_timeout
        self._holder: str | None = None
        self._holder_client = b""
        self._holder_heard = 0.0
        self._dispatcher.handlers |= {
            "open": self._open,
            "reset": partial(self._command, self._reset, moves=True),
            "observe": partial(self._command, self._observe, moves=False),
            "act": partial(self._command, self._act, moves=True),
            "step": partial(self._command, self._step, moves=True),
            "hold": partial(self._command, self._hold, moves=False),
            "stop": partial(self._command, self._halt, moves=False),
            "close": self._close_session,
        }

    @property
    def at_rest(self) -> bool:
        """Whether the robot is known to hold, or was never moved."""
        return self._thread.at_rest

    def greet(self, payload: Payload) -> Payload:
        """Refuse a client whose policy this robot does not fit; a client that states nothing compares by itself."""
        if (theirs := require(payload, "contract", dict, type(None))) is not None:
            needed = contract_from_payload(theirs)
            require_fit(needed, self._robot.contract, "the policy", f"the robot at {self.address}")
        return {"contract": self._robot.contract.to_dict(), "facts": {"robot": self._robot.kind}}

    def start_work(self) -> None:
        """Connect the robot; what it raises is raised here."""
        self.metrics.gauge("queue", "commands that wait for the robot", lambda: len(self._thread))
        self.metrics.gauge("held", "1 while a client has the robot", lambda: self._holder is not None)
        self.metrics.gauge("moving", "1 while the robot may be moving", lambda: self._thread.moving)
        self.metrics.gauge("stopped", "1 while the robot waits to be reset", lambda: self._thread.stopped)
        self.metrics.gauge("watchdog_holds", "holds by the watchdog", lambda: self._thread.holds)
        self.metrics.gauge("cuts", "numbers that a limit cut", self._robot.counts.total)
        self._thread.start()
        self._standstill = StandstillDetector(clock(), HEARTBEAT_TIMEOUT)

    def drain_work(self) -> None:
        """Refuse what waits, so that nothing moves any more; the running command ends, and the robot holds."""
        self._thread.close()

    def is_working(self) -> bool:
        """Whether the robot is not closed yet."""
        return self._thread.is_alive()

    def finish_work(self) -> None:
        """Give up on a robot that does not return."""
        self._thread.close()
        self._thread.join(0.1)
        if self._thread.is_alive():
            log.error("the robot did not return within %.0f s, so it was not closed", DRAIN_TIMEOUT)

    def tick(self, now: float) -> None:
        """Answer requests that waited too long, and report a robot that does not return."""
        self._standstill.look(clock())
        self._thread.expire(now)
        self._thread.stuck(now)

    def finish(self, request: Request, outcome: Outcome) -> None:
        """Answer ``request``; results carry the time, from which clients compute until when a command may begin."""
        super().finish(request, outcome if isinstance(outcome, Exception) else {**outcome, "clock": clock()})

    def on_disconnect(self, client: bytes) -> None:
        """Hold where the client that drove is disconnected, without waiting for the watchdog."""
        if not self._holder or client != self._holder_client:
            return
        self._thread.supersede("its sender was disconnected")
        if self._thread.moving:
            log.warning("the client that drove is disconnected: the robot is to hold")
            now = time.monotonic()
            call = partial(self._hold, {})
            self._thread.submit(
                Command("hold", self._holder, now, now + DRAIN_TIMEOUT, lambda _: None, call, moves=False)
            )

    def clients_in_use(self) -> set[bytes]:
        """The client that holds the robot."""
        return set() if self._holder is None else {self._holder_client}

    def _open(self, request: Request) -> None:
        now = time.monotonic()
        holder = self._clients.get(self._holder_client)
        heard = holder.last_heard if holder and holder.heartbeat else 0.0
        silent = now - max(self._holder_heard, heard)
        if self._holder and (self._thread.doing or silent < self._lease_timeout):
            raise Busy(
                f"The robot at {self.address} is held by another client, last active {silent:.1f} s ago. It is free "
                f"when that one closes, or after {self._lease_timeout:g} s of its silence."
            )
        self._thread.supersede("another client took the robot")
        self._holder, self._holder_heard, self._holder_client = secrets.token_hex(16), now, request.client
        log.info("the robot is held by a new client")
        self.finish(request, {"session": self._holder})

    def _close_session(self, request: Request) -> None:
        """The robot holds before another client can take it."""
        self._require_holder(request)
        self._command(self._hold, request, moves=False)
        self._holder = None

    def _command(self, carry_out: Callable[[Payload], Payload], request: Request, *, moves: bool) -> None:
        self._require_holder(request)
        message = request.message
        self._thread.supersede(f"{message.kind!r} came")
        begin_by = self._begin_by(request) if moves else math.inf
        self.tick_by(min(request.deadline, time.monotonic() + begin_by - clock()))
        self._thread.submit(
            Command(
                name=message.kind,
                session=message.session or "",
                received=request.received,
                deadline=request.deadline,
                done=partial(self.finish, request),
                call=partial(carry_out, message.payload),
                moves=moves,
                begin_by=begin_by,
            )
        )

    def _begin_by(self, request: Request) -> float:
        """Until when a motion may begin: as its sender states, and before its sender takes this host for lost."""
        stated = require({"begin_by": None, **request.message.payload}, "begin_by", float, type(None))
        if stated is not None and not math.isfinite(stated):
            raise ProtocolError(f"'begin_by' must be a time on this host's clock; this is {stated}.")
        now = clock()
        if self._standstill.look(now) and stated is None:
            raise DeadlineExceeded(
                f"This host stood still a moment ago, so {request.message.kind!r} may be from before: it was not carried "
                f"out. Send it again if it is still wanted, with begin_by, by which its age is known."
            )
        return min(now + HEARTBEAT_TIMEOUT, math.inf if stated is None else stated)

    def _require_holder(self, request: Request) -> None:
        if self._holder is None or request.message.session != self._holder:
            raise UnknownSession(
                f"The robot at {self.address} is not held by session {request.message.session!r}: it was closed, given "
                f"to another client after {self._lease_timeout:g} s of silence, or the host was restarted. Open another."
            )
        self._holder_heard, self._holder_client = time.monotonic(), request.client

    def _on_done(self, command: Command, took: float) -> None:
        self._holder_heard = now = time.monotonic()
        self.metrics.batch([now - took - command.received], took)

    def _reset(self, payload: Payload) -> Payload:
        episode = episode_from_payload(require(payload, "episode", dict, type(None)))
        return {"observation": observation_to_payload(self._thread.reset(episode))}

    def _observe(self, payload: Payload) -> Payload:
        return {"observation": observation_to_payload(self._robot.observe())}

    def _act(self, payload: Payload) -> Payload:
        commanded = self._robot.act(self._action(payload))
        return {"commanded": np.asarray(commanded, dtype=np.float32)}

    def _step(self, payload: Payload) -> Payload:
        observation = self._robot.step(self._action(payload))
        return {"observation": observation_to_payload(observation)}

    def _action(self, payload: Payload) -> NDArray[np.float32]:
        action = action_from_payload(payload, self._robot.contract)
        self._thread.require_running()
        return action

    def _hold(self, payload: Payload) -> Payload:
        self._thread.hold()
        return {}

    def _halt(self, payload: Payload) -> Payload:
        self._thread.stop()
        return {}
