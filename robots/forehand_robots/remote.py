"""A robot that lives in another process: the client of a robot host."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import numpy as np
from numpy.typing import NDArray

from forehand import Contract, Episode, Observation, Robot
from forehand.wire.connection import ROBOT, Connection
from forehand.wire.convert import Payload, episode_to_payload, need, observation_from_payload
from forehand.wire.errors import UnknownSession, WireError

PARTING = 2.0
"""Seconds to wait for the host to hold or to let go: its watchdog holds sooner when it cannot be reached."""


class RemoteRobot(Robot):
    """The robot behind the host at ``address``; ``timeout``: seconds each request may take, resets included.

    From :meth:`connect` to :meth:`close` it belongs to this client alone. When the host is lost, every call raises
    :class:`forehand.wire.ConnectionLost` or :class:`forehand.wire.UnknownSession`; :meth:`connect` begins anew.
    """

    contract: Contract  # the host's, known once connected

    def __init__(self, address: str, timeout: float = 10.0, jpeg: int | None = None) -> None:
        self.address = address
        self._connection = Connection(address, ROBOT, timeout, jpeg=jpeg)
        self._session: str | None = None

    def connect(self) -> None:
        """Learn the robot's contract and take hold of it; :class:`forehand.wire.Busy` if someone else has it."""
        self._release()
        self.contract = self._connection.hello()
        self._session = need(self._connection.request("open", {}), "session", str)

    def reset(self, episode: Episode | None = None) -> Observation:
        """Bring the robot to a start."""
        return self._observation(self._ask("reset", {"episode": episode_to_payload(episode)}))

    def observe(self) -> Observation:
        """Sense now, at the host."""
        return self._observation(self._ask("observe", {}))

    def act(self, action: NDArray[np.float32]) -> NDArray[np.float32]:
        """Carry out one control step; return what was really commanded."""
        commanded: NDArray[np.float32] = need(self._ask("act", _command(action)), "commanded", np.ndarray)
        return commanded

    def step(self, action: NDArray[np.float32]) -> Observation:
        """Act, then observe, in one round trip."""
        return self._observation(self._ask("step", _command(action)))

    def hold(self) -> None:
        """Stay where you are; the host's watchdog does the same when it hears nothing."""
        self._ask("hold", {}, PARTING)

    def close(self) -> None:
        """Give the robot back, holding, and let go of the connection."""
        self._release()
        self._connection.close()

    def _release(self) -> None:
        if self._session is None:
            return
        session, self._session = self._session, None
        with suppress(WireError):  # the host is gone, or gave the robot to someone else: it is no longer ours
            self._connection.request("close", {}, session=session, timeout=PARTING)

    def _ask(self, kind: str, payload: Payload, timeout: float | None = None) -> dict[str, Any]:
        if self._session is None:
            raise UnknownSession(f"The robot at {self.address} is not connected; call connect() first.")
        return self._connection.request(kind, payload, session=self._session, timeout=timeout)

    def _observation(self, answer: Payload) -> Observation:
        return observation_from_payload(need(answer, "observation", dict), self.contract)


def _command(action: NDArray[np.float32]) -> Payload:
    return {"action": np.asarray(action, dtype=np.float32)}
