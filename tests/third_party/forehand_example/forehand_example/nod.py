"""A whole policy without torch."""

from collections.abc import Sequence

import numpy as np

from forehand import Contract, Observation, Policy, Prediction, Session


class Nod(Policy):
    """Opens the gripper at even seconds and closes it at odd ones."""

    def __init__(self, contract: Contract) -> None:
        self.contract = contract

    def step(
        self, sessions: Sequence[Session], observations: Sequence[Observation], *, forecast: bool = False
    ) -> list[Prediction]:
        return [Prediction(self._action(o)[None]) for o in observations]

    def _action(self, observation: Observation) -> np.ndarray:
        action = np.zeros(self.contract.action_size, np.float32)
        action[-1] = 1 if int(observation.time) % 2 == 0 else -1
        return action
