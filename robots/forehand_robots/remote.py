"""Remote robot: the client of a robot host."""

from __future__ import annotations

import logging
from contextlib import suppress
from typing import Any

import numpy as np
from numpy.typing import NDArray

from forehand import Contract, Episode, Observation, Robot
from forehand.errors import ProtocolError, UnknownSession, WireError
from forehand.wire.clients import HEARTBEAT_TIMEOUT
from forehand.wire.connection import ROBOT, Connection
from forehand.wire.serialize import Payload, episode_to_payload, observation_from_payload, require

log = logging.getLogger(__name__)

SHUTDOWN_TIMEOUT = 2.0
"""Seconds to wait for the answer to hold, stop and close: the host's watchdog holds sooner when it cannot be reached."""


class RemoteRobot(Robot):
    """The robot behind the host at ``address``; ``timeout``: seconds each request may take, resets included.

    ``silence``: seconds after which a host that answers not even heartbeats counts as lost.

    From :meth:`connect` to :meth:`close` this client has exclusive control of it. When the host is lost, every call
    raises :class:`forehand.wire.ConnectionLost` or :class:`forehand.wire.UnknownSession`; :meth:`connect` opens a new
    session. A motion request without an answer in time raises :class:`forehand.wire.DeadlineExceeded`, whose message
    states whether it may have been carried out; it does not begin any more.
    """

    contract: Contract  # the host's, known once connected

    def __init__(
        self, address: str, timeout: float = 10.0, jpeg: int | None = None, silence: float = HEARTBEAT_TIMEOUT
    ) -> None:
        self.address = address
        self._connection = Connection(address, ROBOT, timeout, jpeg=jpeg, silence=silence)
        self._session: str | None = None

    @property
    def kind(self) -> str:
        """The class of the host's driver; "" until connected."""
        return str(self._connection.facts.get("robot", ""))

    def connect(self) -> None:
        """Fetch the robot's contract and open a session; :class:`forehand.wire.Busy` if another client has one."""
        self._release()
        self.contract = self._connection.hello()
        self._session = require(self._connection.request("open", {}), "session", str)

    def reset(self, episode: Episode | None = None) -> Observation:
        """Bring the robot to a start."""
        return self._observation(self._ask("reset", {"episode": episode_to_payload(episode)}, moves=True))

    def observe(self) -> Observation:
        """Sense now, at the host."""
        return self._observation(self._ask("observe", {}))

    def act(self, action: NDArray[np.float32]) -> NDArray[np.float32]:
        """Carry out one control step; return what was really commanded."""
        commanded: NDArray[np.float32] = require(self._ask("act", _command(action), moves=True), "commanded", np.ndarray)
        return commanded

    def step(self, action: NDArray[np.float32]) -> Observation:
        """Act, then observe, in one round trip."""
        return self._observation(self._ask("step", _command(action), moves=True))

    def hold(self) -> None:
        """Stay where you are; the host's watchdog does the same when no request arrives."""
        self._ask("hold", {}, SHUTDOWN_TIMEOUT)

    def stop(self) -> None:
        """Come to rest for good, until the next reset; a host of an older release only lets the robot hold."""
        try:
            self._ask("stop", {}, SHUTDOWN_TIMEOUT)
        except ProtocolError:
            log.warning("the robot host at %s does not support 'stop': the robot holds instead", self.address)
            self.hold()

    def close(self) -> None:
        """End the session, in which case the host lets the robot hold, and close the connection."""
        self._release()
        self._connection.close()

    def _release(self) -> None:
        if self._session is None:
            return
        session, self._session = self._session, None
        with suppress(WireError):  # the host is gone, or another client has a session by now
            self._connection.request("close", {}, session=session, timeout=SHUTDOWN_TIMEOUT)

    def _ask(self, kind: str, payload: Payload, timeout: float | None = None, *, moves: bool = False) -> dict[str, Any]:
        if self._session is None:
            raise UnknownSession(f"The robot at {self.address} is not connected; call connect() first.")
        return self._connection.request(kind, payload, session=self._session, timeout=timeout, moves=moves)

    def _observation(self, answer: Payload) -> Observation:
        return observation_from_payload(require(answer, "observation", dict), self.contract)


def _command(action: NDArray[np.float32]) -> Payload:
    return {"action": np.asarray(action, dtype=np.float32)}
