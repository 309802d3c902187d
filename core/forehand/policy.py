"""What the world asks of a policy, without torch: weights are shared, sessions belong to one robot each."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from forehand.contract import Contract
from forehand.robot import Observation


@dataclass(frozen=True)
class Prediction:
    """What a policy answers to one observation.

    actions: (H, A) float32 in the contract's units, the first one for now; forecast: camera name → (h, w, 3) uint8, what
    the policy expects that camera to see ``forecast_horizon`` control steps from now, or None.
    """

    actions: NDArray[np.float32]
    forecast: Mapping[str, NDArray[np.uint8]] | None = None
    forecast_horizon: int = 0


class Session:
    """One robot's history and caches in one policy; what is inside belongs to the policy."""

    def __init__(self, instruction: str) -> None:
        self.instruction = instruction

    def reset(self, instruction: str | None = None) -> None:
        """Forget the history, as at the start of an episode; optionally take a new instruction."""
        self.instruction = self.instruction if instruction is None else instruction

    def close(self) -> None:
        """Give back what the session holds, at a server for instance; nothing is asked of it afterwards."""


class Policy(ABC):
    """Weights that serve many sessions."""

    contract: Contract
    history: int = 1
    """How many frames a session looks at, one each control step, the newest included."""
    origin: Mapping[str, Any] = MappingProxyType({})
    """Which checkpoint the weights came from, if they did; part of what :meth:`describe` tells."""

    def open(self, instruction: str) -> Session:
        """A new session: an empty history under one instruction."""
        return Session(instruction)

    @abstractmethod
    def step(
        self, sessions: Sequence[Session], observations: Sequence[Observation], *, forecast: bool = False
    ) -> list[Prediction]:
        """One answer for each session, in one batch. ``forecast`` asks for the pictures too, which costs time."""

    def remember(self, session: Session, observations: Sequence[Observation]) -> None:  # noqa: B027
        """Take frames that nothing is asked about, oldest first, into the session's history.

        Whoever asks less often than once a control step shows the frames in between, so that a policy sees at run time
        what it saw in training. Policies with a history of one frame need nothing.
        """

    def describe(self) -> dict[str, Any]:
        """Facts for people, and to tell policies apart: name, :attr:`history`, parameters, and :attr:`origin`."""
        return {"policy": type(self).__name__, "history": self.history, **self.origin}
