"""Robot wrapper with a watchdog: the robot stops when its caller hangs."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from concurrent.futures import Future, wait
from typing import Any

import numpy as np
from numpy.typing import NDArray

from forehand.control.limited_robot import LimitedRobot
from forehand.control.rest import HoldUnknown
from forehand.control.robot_thread import Command, RobotThread
from forehand.control.robot_wrapper import RobotWrapper
from forehand.errors import ForehandError
from forehand.robot import Episode, Observation, Robot
from forehand.utils.numbers import not_negative, positive

log = logging.getLogger(__name__)

RETURN_TIMEOUT = 5.0
"""Seconds that a robot may take to return from one call at the end, before it is given up."""

LOOK = 0.1
"""Seconds between looks at a robot that has not returned yet."""


class WatchdogRobot(RobotWrapper):
    """``robot`` behind its limits, with the watchdog of a robot host, and like there touched by one thread only.

    ``watchdog``: seconds without a reset, an action or a step after which it holds; ``stop``: seconds of such a hold
    after which it stops: then actions raise :class:`~forehand.errors.RobotStopped` until a reset. This protects from a
    loop that hangs, not from a process that ends or is suspended as a whole: for that, host the robot.
    ``clock``: the time in seconds by which the watchdog acts.
    """

    def __init__(
        self,
        robot: Robot,
        watchdog: float = 1.0,
        stop: float = 30.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        positive(watchdog=watchdog)
        not_negative(stop=stop)
        self._limited = robot if isinstance(robot, LimitedRobot) else LimitedRobot(robot)
        super().__init__(self._limited)
        self._watchdog, self._stop, self._clock = watchdog, stop, clock
        self._thread: RobotThread | None = None

    def around(self, robot: Robot) -> Robot:
        """Another robot, watched in the same way."""
        return WatchdogRobot(robot, self._watchdog, self._stop, self._clock)

    @property
    def limited(self) -> LimitedRobot:
        """The wrapper that keeps the limits in the robot's thread; other threads may only read its counts."""
        return self._limited

    def connect(self) -> None:
        """Connect the robot, in the thread that touches it from then on."""
        if self._thread is None:
            thread = RobotThread(self._limited, self._watchdog, self._stop, clock=self._clock)
            thread.start()
            self._thread = thread

    def reset(self, episode: Episode | None = None) -> Observation:
        """Reset the robot, and wake it if it was stopped."""
        return self._ask("reset", lambda thread: thread.reset(episode), moves=True)

    def observe(self) -> Observation:
        """What the robot observes; the watchdog does not count it as a command."""
        return self._ask("observe", lambda thread: thread.robot.observe())

    def act(self, action: NDArray[np.float32]) -> NDArray[np.float32]:
        """Carry out the allowed part of ``action``."""
        return self._ask("act", lambda thread: thread.robot.act(action), moves=True, driven=True)

    def step(self, action: NDArray[np.float32]) -> Observation:
        """Carry out the allowed part of ``action``, then observe."""
        return self._ask("step", lambda thread: thread.robot.step(action), moves=True, driven=True)

    def hold(self) -> None:
        """Hold, which ends the watchdog's times. Raises :class:`HoldUnknown` for a robot that does not return."""
        self._ask("hold", lambda thread: thread.hold())

    def stop(self) -> None:
        """Stop the robot."""
        self._ask("stop", lambda thread: thread.stop())

    def close(self) -> None:
        """Let the robot hold if it may be moving, and close it; raises :class:`HoldUnknown` if that is in doubt."""
        if self._thread is not None:
            thread, self._thread = self._thread, None
            thread.close()
            while thread.is_alive() and thread.stuck(self._clock()) <= RETURN_TIMEOUT:
                thread.join(LOOK)
            if thread.is_alive():
                log.error("the robot did not return within %g s, so it was not closed", RETURN_TIMEOUT)
            if not thread.at_rest:
                raise HoldUnknown("The robot was not brought to rest: whether it holds is unknown. Look after it.")
        else:
            super().close()

    def _ask(self, name: str, call: Callable[[RobotThread], Any], *, moves: bool = False, driven: bool = False) -> Any:
        """What ``call`` returns or raises in the robot's thread."""
        thread = self._thread
        if thread is None:
            raise ForehandError("The robot is not connected; call connect() first.")
        answer: Future[Any] = Future()

        def carry_out() -> dict[str, Any]:
            if driven:
                thread.require_running()
            return {"result": call(thread)}

        def done(outcome: dict[str, Any] | Exception) -> None:
            if isinstance(outcome, Exception):
                answer.set_exception(outcome)
            else:
                answer.set_result(outcome["result"])

        thread.submit(Command(name, "", self._clock(), math.inf, done, carry_out, moves))
        while not wait([answer], LOOK).done:
            stuck = thread.stuck(self._clock())
            if stuck > RETURN_TIMEOUT and name in ("hold", "stop"):
                raise HoldUnknown(
                    f"The robot has not returned for {stuck:.1f} s: whether it holds is unknown. Look after it."
                )
            if not thread.is_alive() and not answer.done():
                raise HoldUnknown("The robot's thread ended: whether the robot holds is unknown. Look after it.")
        return answer.result()
