"""Reference policies without learning: baselines, and quick tests of a robot or server."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import numpy as np

from forehand import Contract, Forecast, Observation, Policy, Prediction, Session


class ZeroActionPolicy(Policy):
    """Zero in every relative field, the middle of the range in every absolute one."""

    def __init__(self, contract: Contract, horizon: int = 1) -> None:
        self.contract = contract
        self.horizon = horizon
        low, high = _ranges(contract)
        absolute = np.repeat([f.mode == "absolute" for f in contract.action], [f.size for f in contract.action])
        self._action = np.where(absolute, (low + high) / 2, 0).astype(np.float32)

    def step(
        self, sessions: Sequence[Session], observations: Sequence[Observation], *, forecast: bool = False
    ) -> list[Prediction]:
        """The same chunk for every session; the forecast is the present observation."""
        chunk = np.tile(self._action, (self.horizon, 1))
        return [Prediction(chunk.copy(), (Forecast(1, dict(o.images)),) if forecast else ()) for o in observations]


class _RandomSession(Session):
    generator: np.random.Generator | None = None

    def reset(self, instruction: str | None = None) -> None:
        super().reset(instruction)
        self.generator = None


class RandomPolicy(Policy):
    """Uniformly random actions within the contract's ranges.

    The numbers of a session depend on ``seed``, its own seed, its instruction and its first state alone, so that an
    evaluation gives the same result however many robots share the policy.
    """

    samples = True

    def __init__(self, contract: Contract, horizon: int = 1, seed: int = 0) -> None:
        self.contract = contract
        self.horizon = horizon
        self.seed = seed
        self._low, self._high = _ranges(contract)

    def open(self, instruction: str, seed: int = 0) -> Session:
        """A session with its own random numbers."""
        return _RandomSession(instruction, seed)

    def step(
        self, sessions: Sequence[Session], observations: Sequence[Observation], *, forecast: bool = False
    ) -> list[Prediction]:
        """A new random chunk for each session; no forecast."""
        return [self._draw(session, observation) for session, observation in zip(sessions, observations, strict=True)]

    def _draw(self, session: Session, observation: Observation) -> Prediction:
        assert isinstance(session, _RandomSession)
        if session.generator is None:
            start = zlib.crc32(np.ascontiguousarray(observation.state).tobytes())
            spoken = zlib.crc32(session.instruction.encode())
            session.generator = np.random.default_rng([self.seed, session.seed, spoken, start])
        shape = (self.horizon, self.contract.action_size)
        return Prediction(session.generator.uniform(self._low, self._high, shape).astype(np.float32))


def _ranges(contract: Contract) -> tuple[np.ndarray, np.ndarray]:
    """Lower and upper bounds (A,) of actions; a range that is not stated is taken as -1 to 1."""
    low = [f.low or (-1.0,) * f.size for f in contract.action]
    high = [f.high or (1.0,) * f.size for f in contract.action]
    return np.concatenate(low), np.concatenate(high)
