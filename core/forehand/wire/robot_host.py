"""One robot for one client at a time, in the process that owns the hardware or the simulator."""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Callable
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
from forehand.wire.errors import Busy, UnknownSession
from forehand.wire.keeper import Command, Keeper
from forehand.wire.meter import Meter

log = logging.getLogger(__name__)


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
        self._keeper = Keeper(self._robot, watchdog, stop, self._told)
        self._release = release
        self._holder: str | None = None
        self._holder_client = b""
        self._holder_heard = 0.0
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
        self.meter.watch("queue", "commands that wait for the robot", lambda: len(self._keeper))
        self.meter.watch("held", "1 while somebody has the robot", lambda: self._holder is not None)
        self.meter.watch("moving", "1 while the robot may be moving", lambda: self._keeper.moving)
        self.meter.watch("stopped", "1 while the robot waits to be reset", lambda: self._keeper.stopped)
        self.meter.watch("watchdog_holds", "holds that nobody commanded", lambda: self._keeper.holds)
        self.meter.watch("cuts", "numbers that a limit cut", self._robot.counts.total)
        self._keeper.start()

    def drain_work(self) -> None:
        """Refuse what waits, so that nothing moves any more; the running command ends, and the robot holds."""
        self._keeper.close()

    def is_working(self) -> bool:
        """Whether the robot is not closed yet."""
        return self._keeper.is_alive()

    def finish_work(self) -> None:
        """Give up on a robot that does not return."""
        self._keeper.close()
        self._keeper.join(0.1)
        if self._keeper.is_alive():
            log.error("the robot did not return within %.0f s, so it was not closed", GRACE)

    def tick(self, now: float) -> None:
        """Answer requests that waited too long."""
        self._keeper.expire(now)

    def lost(self, client: bytes) -> None:
        """Who drove is gone: hold, without waiting for the watchdog."""
        if self._holder and client == self._holder_client and self._keeper.moving:
            log.warning("whoever drove is gone: the robot holds")
            now = time.monotonic()
            call = partial(self._hold, {})
            self._keeper.put(Command("hold", self._holder, now, now + GRACE, lambda _: None, call, moves=False))

    def _open(self, request: Request) -> None:
        now = time.monotonic()
        holder = self._clients.get(self._holder_client)
        heard = holder.last_heard if holder and holder.heartbeat else 0.0
        silent = now - max(self._holder_heard, heard)
        if self._holder and (self._keeper.working or silent < self._release):
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
        self._keeper.put(
            Command(
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

    def _told(self, command: Command, took: float) -> None:
        self._holder_heard = now = time.monotonic()
        self.meter.computed([now - took - command.received], took)

    def _reset(self, payload: Payload) -> Payload:
        episode = episode_from_payload(need(payload, "episode", dict, type(None)))
        return {"observation": observation_to_payload(self._keeper.reset(episode))}

    def _observe(self, payload: Payload) -> Payload:
        return {"observation": observation_to_payload(self._robot.observe())}

    def _act(self, payload: Payload) -> Payload:
        commanded = self._robot.act(self._action(payload))
        return {"commanded": np.asarray(commanded, dtype=np.float32)}

    def _step(self, payload: Payload) -> Payload:
        observation = self._robot.step(self._action(payload))
        return {"observation": observation_to_payload(observation)}

    def _action(self, payload: Payload) -> NDArray[np.float32]:
        self._keeper.drive()
        return action_from_payload(payload, self._robot.contract)

    def _hold(self, payload: Payload) -> Payload:
        self._keeper.hold()
        return {}
