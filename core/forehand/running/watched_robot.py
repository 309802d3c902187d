"""A robot in this process that comes to rest by itself when whoever drives it hangs."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import numpy as np
from numpy.typing import NDArray

from forehand.contract import Contract
from forehand.errors import ForehandError
from forehand.limited_robot import LimitedRobot
from forehand.robot import Episode, Observation, Robot
from forehand.wire.keeper import Command, Keeper

log = logging.getLogger(__name__)

GRACE = 10.0
"""Seconds that a robot may take to be closed."""


class WatchedRobot(Robot):
    """``robot`` behind its limits, with the watchdog of a robot host, and like there touched by one thread only.

    ``watchdog``: seconds without a reset, an action or a step after which it is told to hold; ``stop``: seconds of
    holding so after which it is told to stop: then actions raise :class:`~forehand.wire.keeper.RobotStopped` until a
    reset. It protects from a loop that hangs, not from a process that dies or stands still as a whole: for that, host
    the robot.
    """

    def __init__(self, robot: Robot, watchdog: float = 1.0, stop: float = 30.0) -> None:
        self.limited = LimitedRobot(robot)
        """What counts the limits that were hit; for looking at alone."""
        self._watchdog, self._stop = watchdog, stop
        self._keeper: Keeper | None = None

    @property
    def contract(self) -> Contract:  # type: ignore[override]
        """The robot's."""
        return self.limited.contract

    @property
    def episode(self) -> Episode | None:  # type: ignore[override]
        """The robot's."""
        return self.limited.robot.episode

    def connect(self) -> None:
        """Connect the robot, in the thread that touches it from then on."""
        if self._keeper is None:
            keeper = Keeper(self.limited, self._watchdog, self._stop)
            keeper.start()
            self._keeper = keeper

    def reset(self, episode: Episode | None = None) -> Observation:
        """Reset the robot, and wake it if it was stopped."""
        return self._ask("reset", lambda keeper: keeper.reset(episode), moves=True)

    def observe(self) -> Observation:
        """What the robot observes. Looking does not keep it moving."""
        return self._ask("observe", lambda keeper: keeper.robot.observe())

    def act(self, action: NDArray[np.float32]) -> NDArray[np.float32]:
        """Carry out the allowed part of ``action``."""
        return self._ask("act", lambda keeper: keeper.robot.act(action), moves=True, driven=True)

    def step(self, action: NDArray[np.float32]) -> Observation:
        """Carry out the allowed part of ``action``, then observe."""
        return self._ask("step", lambda keeper: keeper.robot.step(action), moves=True, driven=True)

    def hold(self) -> None:
        """Hold. Who says so himself is not told to stop."""
        self._ask("hold", lambda keeper: keeper.hold())

    def stop(self) -> None:
        """Stop the robot."""
        self._ask("stop", lambda keeper: keeper.robot.stop())

    def close(self) -> None:
        """Let the robot hold if it may be moving, and close it."""
        if self._keeper is not None:
            self._keeper.close()
            self._keeper.join(GRACE)
            if self._keeper.is_alive():
                log.error("the robot did not return within %.0f s, so it was not closed", GRACE)
            self._keeper = None
        else:
            self.limited.close()

    def _ask(self, name: str, call: Callable[[Keeper], Any], *, moves: bool = False, driven: bool = False) -> Any:
        """What ``call`` returns or raises in the robot's thread."""
        keeper = self._keeper
        if keeper is None:
            raise ForehandError("The robot is not connected; call connect() first.")
        answer: Future[Any] = Future()

        def carry_out() -> dict[str, Any]:
            if driven:
                keeper.drive()
            return {"result": call(keeper)}

        def done(outcome: dict[str, Any] | Exception) -> None:
            if isinstance(outcome, Exception):
                answer.set_exception(outcome)
            else:
                answer.set_result(outcome["result"])

        keeper.put(Command(name, "", time.monotonic(), math.inf, done, carry_out, moves))
        return answer.result()
