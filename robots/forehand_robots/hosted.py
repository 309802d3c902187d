"""Hosted robot: a robot in a host process of its own, in the environment of its simulator."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from forehand import Contract, Episode, Observation, Robot
from forehand.errors import ConnectionLost, DeadlineExceeded, InternalError, RobotLost, UnknownSession
from forehand.utils.numbers import count, positive
from forehand_robots.host_process import HostProcess
from forehand_robots.remote import RemoteRobot

log = logging.getLogger(__name__)


class HostedRobot(Robot):
    """The simulated robot ``robot``, made with ``options``, in a process from :meth:`connect` to :meth:`close`.

    ``environment``: in which the process runs, a name or a folder (``forehand env``); None: this Python. The process is
    replaced by a new one before the reset after ``restart_episodes`` episodes, or where it holds more than
    ``restart_memory`` GiB; None: never. ``timeout``: seconds that a step or a reset may take.

    A process that died, failed or does not answer raises :class:`~forehand.errors.RobotLost`; connect anew, and repeat
    the episode.
    """

    contract: Contract  # the robot's, known once connected

    def __init__(
        self,
        robot: str,
        options: Mapping[str, Any] | None = None,
        environment: str | None = None,
        restart_episodes: int | None = None,
        restart_memory: float | None = None,
        timeout: float = 300.0,
    ) -> None:
        positive(timeout=timeout, restart_memory=restart_memory)
        count(restart_episodes=restart_episodes)
        self.patience = timeout
        self._robot, self._options, self._environment = robot, dict(options or {}), environment
        self._most_episodes, self._most_memory, self._timeout = restart_episodes, restart_memory, timeout
        self._process: HostProcess | None = None
        self._remote: RemoteRobot | None = None
        self._episodes = 0

    @property
    def kind(self) -> str:
        """The class of the hosted driver; "" until connected."""
        return self._remote.kind if self._remote else ""

    def connect(self) -> None:
        """Start the process, unless it runs, and connect to it."""
        if self._process is not None and self._process.alive and self._remote is not None:
            return
        self.close()
        self._process = HostProcess(self._robot, self._options, self._environment, self._timeout)
        # A simulator that builds a scene may keep its whole process from answering; that it died is noticed at once.
        remote = RemoteRobot(self._process.address, self._timeout, silence=self._timeout)
        self._remote, self._episodes = remote, 0
        with self._lost():
            self._remote.connect()
        self.contract = self._remote.contract

    def reset(self, episode: Episode | None = None) -> Observation:
        """Bring the robot to a start, in a new process where it is time for one."""
        if (episode is None or not episode.continues) and (reason := self._reason_to_restart()):
            log.info("the process of the robot %s is replaced: %s", self._robot, reason)
            self.close()
            self.connect()
        self._episodes += 1
        with self._lost() as remote:
            return remote.reset(episode)

    def observe(self) -> Observation:
        """Sense now."""
        with self._lost() as remote:
            return remote.observe()

    def act(self, action: NDArray[np.float32]) -> NDArray[np.float32]:
        """Carry out one control step."""
        with self._lost() as remote:
            return remote.act(action)

    def step(self, action: NDArray[np.float32]) -> Observation:
        """Act, then observe, in one round trip."""
        with self._lost() as remote:
            return remote.step(action)

    def hold(self) -> None:
        """Nothing: the world of a simulator stands still between steps."""

    def close(self) -> None:
        """End the process."""
        remote, process = self._remote, self._process
        self._remote = self._process = None
        if remote is not None and process is not None and process.alive:
            remote.close()
        if process is not None:
            process.end()

    def _reason_to_restart(self) -> str:
        if self._process is None:
            return ""
        if self._most_episodes is not None and self._episodes >= self._most_episodes:
            return f"it had {self._episodes} episodes"
        if self._most_memory is not None and (held := self._process.memory()) > self._most_memory:
            return f"it holds {held:.1f} GiB"
        return ""

    @contextmanager
    def _lost(self) -> Iterator[RemoteRobot]:
        if self._remote is None or self._process is None:
            raise RobotLost(f"The robot {self._robot!r} has no process; call connect() first.")
        try:
            yield self._remote
        except (ConnectionLost, DeadlineExceeded, InternalError, UnknownSession) as error:
            raise RobotLost(
                f"The process of the robot {self._robot!r} failed: {error} {self._process.last_words()}"
            ) from error
