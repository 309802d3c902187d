"""A benchmark's expert as a policy: what can be reached at all, beside whatever was learned."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from forehand.errors import ConfigurationError
from forehand.policy import Policy, Prediction, Session
from forehand.robot import Benchmark, Expert, Observation, Robot


class Oracle(Policy):
    """The expert of ``benchmark`` on ``robot``, whose running episode it solves, whatever it is told.

    Once the expert has nothing left to do, the robot stays where it is.
    """

    def __init__(self, benchmark: Benchmark, robot: Robot) -> None:
        self.contract = robot.contract
        self._benchmark, self._robot = benchmark, robot

    def open(self, instruction: str) -> Session:
        """A session that begins with the robot's next episode."""
        return _Show(instruction, self.contract.action_size)

    def step(
        self, sessions: Sequence[Session], observations: Sequence[Observation], *, forecast: bool = False
    ) -> list[Prediction]:
        """The expert's next action, for each session; it looks at the robot and not at the observation."""
        return [Prediction(self._next(session)[None]) for session in sessions]

    def _next(self, session: Session) -> NDArray[np.float32]:
        assert isinstance(session, _Show)
        if session.expert is None:
            episode = self._robot.episode
            if episode is None:
                raise ConfigurationError(
                    f"The expert has to know the episode that the robot is in, but {type(self._robot).__name__} does not "
                    f"tell it. Use the benchmark's own robot in this process."
                )
            session.expert = self._benchmark.expert(self._robot, episode, episode.seed)
        action = session.expert.act()
        if action is None:
            action = session.last * self._absolute()
        session.last = action
        return action

    def _absolute(self) -> NDArray[np.float32]:
        kinds, sizes = zip(*((f.mode != "delta", f.size) for f in self.contract.action), strict=True)
        return np.repeat(kinds, sizes).astype(np.float32)


class _Show(Session):
    def __init__(self, instruction: str, action_size: int) -> None:
        super().__init__(instruction)
        self.expert: Expert | None = None
        self.last: NDArray[np.float32] = np.zeros(action_size, np.float32)
