"""Expert policy: a benchmark's scripted expert as an upper bound for learned policies."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from forehand.benchmark import Benchmark, Expert
from forehand.control.rest import rest_action
from forehand.errors import ConfigurationError
from forehand.policy import Policy, Prediction, Session
from forehand.robot import Observation, Robot


class Oracle(Policy):
    """The expert of ``benchmark`` for the running episode of ``robot``, independent of the instruction.

    It reads the state of the unwrapped robot, and acts in the contract of ``robot``. Once the expert has nothing left to
    do, the robot stays where it is.
    """

    def __init__(self, benchmark: Benchmark, robot: Robot) -> None:
        self.contract = robot.contract
        self._benchmark, self._robot = benchmark, robot

    def open(self, instruction: str, seed: int = 0) -> Session:
        """A session that begins with the robot's next episode, whose seed is the expert's too."""
        return _ExpertSession(instruction, seed)

    def step(
        self, sessions: Sequence[Session], observations: Sequence[Observation], *, forecast: bool = False
    ) -> list[Prediction]:
        """The expert's next action for each session, from the robot's state; the observations are ignored."""
        return [Prediction(self._next(session)[None]) for session in sessions]

    def _next(self, session: Session) -> NDArray[np.float32]:
        assert isinstance(session, _ExpertSession)
        if session.expert is None:
            episode = self._robot.episode
            robot = self._robot.unwrapped
            if episode is None:
                raise ConfigurationError(
                    f"The expert needs the robot's running episode, which {type(robot).__name__} does not provide. "
                    f"Use the benchmark's own robot in this process."
                )
            session.expert = self._benchmark.expert(robot, episode, episode.seed)
        action = session.expert.act()
        if action is None:
            action = rest_action(self._robot.unwrapped.contract, session.last)
        session.last = action
        return self._robot.from_unwrapped(session.last)


class _ExpertSession(Session):
    def __init__(self, instruction: str, seed: int) -> None:
        super().__init__(instruction, seed)
        self.expert: Expert | None = None
        self.last: NDArray[np.float32] | None = None  # in the layout of the unwrapped robot
