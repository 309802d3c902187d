"""Policy interface, without torch: shared weights, and one session per robot."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from forehand.contracts.compatibility import require_fit
from forehand.contracts.contract import Contract
from forehand.errors import ConfigurationError, ContractMismatch
from forehand.robot import Observation

TRAINING_STATE_RANGE = "trained_on"
"""Name of the fact about a policy (:meth:`Policy.describe`) that holds the range of the states it was trained on."""

TRAINING_ACTION_RANGE = "trained_to_do"
"""The same of its actions."""


@dataclass(frozen=True)
class Forecast:
    """What a policy expects to be observed ``horizon`` control steps from now.

    images: camera → (h, w, 3) uint8. features: ``<vision tower>.<camera>`` → (h, w, W) float32, the tower's features of
    the patches of that image, where the policy forecasts no pixels.
    """

    horizon: int
    images: Mapping[str, NDArray[np.uint8]] = MappingProxyType({})
    features: Mapping[str, NDArray[np.float32]] = MappingProxyType({})


@dataclass(frozen=True)
class Prediction:
    """What a policy answers to one observation.

    actions: (H, A) float32 in the contract's units, the first one for now; forecasts: the nearest horizon first, none
    unless they were asked for and the policy has a world model.
    """

    actions: NDArray[np.float32]
    forecasts: tuple[Forecast, ...] = ()

    @property
    def forecast(self) -> Mapping[str, NDArray[np.uint8]] | None:
        """The images of the nearest forecast that has any, camera → (h, w, 3) uint8, or None."""
        return next((forecast.images for forecast in self.forecasts if forecast.images), None)

    @property
    def forecast_horizon(self) -> int:
        """The horizon of :attr:`forecast` in control steps; 0 without one."""
        return next((forecast.horizon for forecast in self.forecasts if forecast.images), 0)


def require_actions(prediction: Prediction, contract: Contract) -> NDArray[np.float32]:
    """The actions (H, A) of ``prediction``; raises :class:`ContractMismatch` unless they are that, and at least one."""
    actions = np.asarray(prediction.actions)
    if actions.ndim != 2 or not len(actions) or actions.shape[1] != contract.action_size:
        raise ContractMismatch(
            f"The policy answered with actions of shape {actions.shape}; needed is a chunk (H, {contract.action_size}) "
            f"of at least one. Nothing of it was carried out."
        )
    return prediction.actions


def require_one_each(sessions: Sequence[Session], observations: Sequence[Observation]) -> None:
    """Raise :class:`ConfigurationError` unless a batch has one observation for each of its sessions, all different."""
    if len(sessions) != len(observations):
        raise ConfigurationError(
            f"step: {len(sessions)} sessions and {len(observations)} observations; give one observation for each session."
        )
    if len({id(session) for session in sessions}) < len(sessions):
        raise ConfigurationError(
            "step: a session is there twice. It takes one observation in a batch; give the next one in the next batch."
        )


class Session:
    """One robot's history and caches in one policy; its contents are the policy's own."""

    def __init__(self, instruction: str, seed: int = 0) -> None:
        self.instruction, self.seed = instruction, seed

    def reset(self, instruction: str | None = None) -> None:
        """Clear the history, as at the start of an episode; optionally with a new instruction."""
        self.instruction = self.instruction if instruction is None else instruction

    def close(self) -> None:
        """Free the session's resources, at a server for instance; it is not used afterwards."""


class Policy(ABC):
    """Weights that serve many sessions."""

    contract: Contract
    history: int = 1
    """Number of frames in a session's window, one for each control step, the newest included."""
    origin: Mapping[str, Any] = MappingProxyType({})
    """The checkpoint that the weights came from, if any; part of :meth:`describe`."""
    samples: bool = False
    """Whether actions are drawn at random, and so depend on a session's seed."""
    acts: bool = True
    """Whether it predicts actions that can drive a robot; False of one that only foresees, or explains what was done."""

    def for_robot(self, contract: Contract, needer: str = "the policy", offerer: str = "the robot") -> Policy:
        """This policy for a robot of that contract: the same, or of several embodiments the one that fits.

        Raises :class:`ContractMismatch` with every difference; ``needer`` and ``offerer`` name the two in it.
        """
        require_fit(self.contract, contract, needer, offerer)
        return self

    def open(self, instruction: str, seed: int = 0) -> Session:
        """A new session: an empty history under one instruction.

        ``seed``, not negative: of whatever the policy draws at random. Two sessions of one seed, instruction and
        sequence of observations act the same, whatever else shares their batches; so does a session that was reset.
        """
        return Session(instruction, seed)

    @abstractmethod
    def step(
        self, sessions: Sequence[Session], observations: Sequence[Observation], *, forecast: bool = False
    ) -> list[Prediction]:
        """One prediction for each session, in one batch; with ``forecast`` it includes images, which takes longer."""

    def remember(self, session: Session, observations: Sequence[Observation]) -> None:  # noqa: B027
        """Append frames without a prediction, oldest first, to the session's history.

        A caller that requests predictions less often than once a control step passes the frames in between, so that the
        window at run time is that of training. Policies with a history of one frame do not need them.
        """

    def describe(self) -> dict[str, Any]:
        """Facts that identify the policy: name, :attr:`history`, parameters, :attr:`origin`; ``samples``, if it does."""
        samples = {"samples": True} if self.samples else {}
        return {"policy": type(self).__name__, "history": self.history, **samples, **self.origin}
