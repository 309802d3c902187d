"""A robot whose commands all go through its contract's limits."""

from __future__ import annotations

import logging
from collections import Counter

import numpy as np
from numpy.typing import NDArray

from forehand.contract import Contract
from forehand.limits import Clipping, Limiter
from forehand.robot import Episode, Observation, Robot

log = logging.getLogger(__name__)

BY_THE_ROBOT = "the robot"
"""Which limit a robot kept by itself, is not known."""


class LimitedRobot(Robot):
    """``robot`` behind a :class:`Limiter`. Every cut is counted, and the first of each kind is logged."""

    def __init__(self, robot: Robot) -> None:
        self.robot = robot
        self.counts: Counter[tuple[str, str]] = Counter()
        """(field, limit) → numbers that were cut; a robot's own cuts count as ``BY_THE_ROBOT``."""
        self.latest: list[Clipping] = []
        """What was cut of the latest command."""
        self._limiter: Limiter | None = None
        self._resting = True

    @property
    def contract(self) -> Contract:  # type: ignore[override]
        """The robot's."""
        return self.robot.contract

    def connect(self) -> None:
        """Connect the robot."""
        self.robot.connect()

    def reset(self, episode: Episode | None = None) -> Observation:
        """Reset the robot."""
        self._resting = True
        return self._seen(self.robot.reset(episode))

    def observe(self) -> Observation:
        """What the robot observes."""
        return self._seen(self.robot.observe())

    def act(self, action: NDArray[np.float32]) -> NDArray[np.float32]:
        """Carry out the allowed part of ``action``; returns what was really commanded."""
        allowed = self._allow(action)
        commanded = self.robot.act(allowed)
        self._keep(allowed, commanded)
        return commanded

    def step(self, action: NDArray[np.float32]) -> Observation:
        """Carry out the allowed part of ``action``, then observe."""
        allowed = self._allow(action)
        observation = self.robot.step(allowed)
        self._limits.carried_out(allowed)
        return self._seen(observation)

    def hold(self) -> None:
        """Hold; the next command starts from where the robot then is."""
        self._resting = True
        self._limits.rest()
        self.robot.hold()

    def stop(self) -> None:
        """Stop the robot."""
        self._resting = True
        self._limits.rest()
        self.robot.stop()

    def close(self) -> None:
        """Close the robot."""
        self.robot.close()

    @property
    def _limits(self) -> Limiter:
        self._limiter = self._limiter or Limiter(self.robot.contract)
        return self._limiter

    def _seen(self, observation: Observation) -> Observation:
        if self._resting:
            self._limits.anchor(observation.state)
        return observation

    def _allow(self, action: NDArray[np.float32]) -> NDArray[np.float32]:
        allowed, self.latest = self._limits.allow(action)
        self._resting = False
        for clipping in self.latest:
            self._count(clipping)
        return allowed

    def _keep(self, allowed: NDArray[np.float32], commanded: NDArray[np.float32]) -> None:
        self._limits.carried_out(commanded)
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
