"""Robot wrapper that enforces the contract's limits on every command."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray

from forehand.contracts.contract import Contract
from forehand.control.limits import Clipping, Limiter, answered
from forehand.control.rest import HoldUnknown, hold
from forehand.control.robot_wrapper import RobotWrapper
from forehand.errors import ContractMismatch, UnsafeMotion, describe
from forehand.robot import Episode, Observation, Robot

log = logging.getLogger(__name__)

BY_THE_ROBOT = "the robot"
"""Name of the limit in a clipping by the robot itself."""


def behind_limits(robot: Robot) -> tuple[RobotWrapper, LimitedRobot]:
    """``robot`` with its limits kept, and what keeps them: its own where it has them, else a wrapper around it."""
    if isinstance(robot, RobotWrapper) and robot.limited is not None:
        return robot, robot.limited
    limited = LimitedRobot(robot)
    return limited, limited


class LimitedRobot(RobotWrapper):
    """``robot`` behind a :class:`Limiter`. Every cut is counted, and the first of each kind is logged.

    Where limits cannot be kept, :class:`~forehand.errors.UnsafeMotion` is raised; that, and whatever the robot raises
    while it acts, makes it hold. After a hold, commands start from the position that the robot then measures.
    """

    def __init__(self, robot: Robot) -> None:
        super().__init__(robot)
        self.counts: Counter[tuple[str, str]] = Counter()
        """(field, limit) → numbers that were cut; a robot's own cuts count as ``BY_THE_ROBOT``."""
        self.latest: list[Clipping] = []
        """What was cut of the latest command."""
        self.commanded: NDArray[np.float32] | None = None
        """The latest command (A,) since the reset, as it was carried out."""
        self._limiter: Limiter | None = None
        self._resting = True

    @property
    def limited(self) -> LimitedRobot:
        """Itself."""
        return self

    def connect(self) -> None:
        """Connect the robot, which may have another contract from then on."""
        super().connect()
        self._limiter, self._resting = None, True

    def reset(self, episode: Episode | None = None) -> Observation:
        """Reset the robot."""
        self._limits.forget()
        self._resting, self.commanded = True, None
        return self._seen(super().reset(episode))

    def observe(self) -> Observation:
        """What the robot observes."""
        return self._seen(super().observe())

    def act(self, action: NDArray[np.float32]) -> NDArray[np.float32]:
        """Carry out the allowed part of ``action``; returns what was really commanded."""
        allowed = self._allow(action)
        with self._sending(allowed):
            commanded = answered(super().act(allowed.copy()), self.contract)
        self._limits.carried_out(allowed, commanded)
        self._compare(allowed, commanded)
        self.commanded = commanded.copy()
        return commanded

    def step(self, action: NDArray[np.float32]) -> Observation:
        """Carry out the allowed part of ``action``, then observe."""
        allowed = self._allow(action)
        with self._sending(allowed):
            observation = super().step(allowed.copy())
        self._limits.carried_out(allowed)
        self.commanded = allowed
        return self._seen(observation)

    def hold(self) -> None:
        """Hold; the next command starts from where the robot then is."""
        self._rest()
        super().hold()

    def stop(self) -> None:
        """Stop the robot."""
        self._rest()
        super().stop()

    @property
    def _limits(self) -> Limiter:
        self._limiter = self._limiter or Limiter(self.contract)
        return self._limiter

    def _rest(self) -> None:
        self._resting = True
        if self._limiter is not None:  # else nothing was commanded yet; and limits that cannot be kept keep no hold away
            self._limiter.rest()

    def _seen(self, observation: Observation) -> Observation:
        if self._resting:
            self._limits.anchor(observation.state)
        return observation

    def _allow(self, action: NDArray[np.float32]) -> NDArray[np.float32]:
        self.latest = []
        if self._resting and self._limits.place_unknown:
            self.observe()
        try:
            allowed, self.latest = self._limits.allow(action)
        except (ContractMismatch, UnsafeMotion) as error:
            if self._resting:
                self._rest()  # the next command looks anew
                raise
            raise type(error)(f"{error} {self._hold_by_itself()}") from error
        self._resting = False
        for clipping in self.latest:
            self._count(clipping)
        return allowed

    @contextmanager
    def _sending(self, command: NDArray[np.float32]) -> Iterator[None]:
        """A block that sends ``command``; how far a robot came that failed is unknown, so it holds."""
        try:
            yield
        except BaseException as error:
            self._limits.carried_out(command)
            log.warning("the robot failed while it acted (%s). %s", describe(error), self._hold_by_itself())
            raise

    def _hold_by_itself(self) -> str:
        """Hold; returns in words whether the robot holds."""
        try:
            hold(self)
        except HoldUnknown as unknown:
            return str(unknown)
        return "The robot was commanded to hold."

    def _compare(self, allowed: NDArray[np.float32], commanded: NDArray[np.float32]) -> None:
        for field, element, asked, done in zip(*_elements(self.contract), allowed, commanded, strict=True):
            if not np.isclose(asked, done, rtol=1e-3, atol=1e-5):
                clipping = Clipping(field, element, BY_THE_ROBOT, float(asked), float(done))
                self.latest.append(clipping)
                self._count(clipping)

    def _count(self, clipping: Clipping) -> None:
        key = (clipping.field, clipping.limit)
        if key not in self.counts:
            log.warning("a limit was hit: %s; more of its kind are only counted", clipping)
        self.counts[key] += 1


def _elements(contract: Contract) -> tuple[list[str], list[int]]:
    pairs = [(f.name, i) for f in contract.action for i in range(f.size)]
    return [name for name, _ in pairs], [i for _, i in pairs]
