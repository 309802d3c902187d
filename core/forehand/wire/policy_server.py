"""Policy server: one policy for many robots, with sessions, batches and deadlines."""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

from forehand.contracts.contract import Contract
from forehand.control.finite import require_finite_observation
from forehand.control.job_queue import Outcome
from forehand.errors import Busy, ProtocolError, UnknownSession
from forehand.policy import Policy, Session
from forehand.robot import Observation
from forehand.utils.numbers import count, not_negative, positive
from forehand.utils.plain import to_plain
from forehand.wire.batching import Batcher, Call, Step
from forehand.wire.clients import ClientQuotas
from forehand.wire.dispatcher import Request
from forehand.wire.endpoint import Endpoint
from forehand.wire.metrics import Metrics
from forehand.wire.serialize import Payload, contract_from_payload, observation_from_payload, require

log = logging.getLogger(__name__)


RESERVE = 4
"""One in so many sessions is kept for clients of our own protocol, which are authenticated by their keys."""


@dataclass
class _Open:
    policy: Policy
    session: Session
    client: bytes
    last_used: float
    local: bool


class PolicyServer(Endpoint):
    """Serves ``policy`` at ``address``; call :meth:`run`.

    ``session_timeout``: seconds after which an unused session is closed; ``disconnect_timeout``: the same where its
    client is disconnected; ``max_sessions``: more are answered ``busy``; ``max_batch``: sessions computed in one call
    of the policy; ``latency_budget``: seconds for which a step may wait for others to share its batch. The policy is
    called from one thread only.
    """

    role: ClassVar[str] = "policy"

    def __init__(
        self,
        policy: Policy,
        address: str,
        *,
        session_timeout: float = 600.0,
        max_sessions: int = 256,
        disconnect_timeout: float = 30.0,
        max_batch: int = 32,
        latency_budget: float = 0.0,
        warm_up: bool = False,
        insecure: bool = False,
        limits: ClientQuotas | None = None,
        metrics: Metrics | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        positive(session_timeout=session_timeout)
        not_negative(disconnect_timeout=disconnect_timeout, latency_budget=latency_budget)
        count(max_sessions=max_sessions, max_batch=max_batch)
        super().__init__(address, insecure=insecure, limits=limits, metrics=metrics, clock=clock)
        self._policy = policy
        self._session_timeout = session_timeout
        self._disconnect_timeout = disconnect_timeout
        self._max_sessions = max_sessions
        self._warm_up = warm_up
        self._batcher = Batcher(policy, max_batch, latency_budget, self.metrics, clock)
        self._greetings: dict[Policy, Payload] = {}  # by embodiment; facts are counted once
        self._sessions: dict[str, _Open] = {}  # written by two threads, each time in one atomic step
        self._dispatcher.handlers |= {
            "open": self._open,
            "step": self._step,
            "reset": self._reset,
            "close": self._close_session,
        }

    def greet(self, payload: Payload) -> Payload:
        """Refuse a robot whose contract does not fit; a client may also state it when it opens a session."""
        stated = require(payload, "contract", dict, type(None)) is not None
        policy = self._for_robot(payload) if stated else self._policy
        if policy not in self._greetings:
            self._greetings[policy] = {"contract": policy.contract.to_dict(), "facts": to_plain(policy.describe())}
        return self._greetings[policy]

    def start_work(self) -> None:
        """Start the inference thread, which computes a first answer that is discarded if it is to warm up."""
        self.metrics.gauge("sessions", "open sessions", lambda: len(self._sessions))
        self.metrics.gauge("queue", "requests that wait for the policy", lambda: len(self._batcher))
        self._batcher.start(self._warm_up)

    def drain_work(self) -> None:
        """Let what waits be computed."""
        self._batcher.drain()

    def is_working(self) -> bool:
        """Whether something is still to be computed."""
        return self._batcher.is_working()

    def finish_work(self) -> None:
        """Refuse what is left."""
        self._batcher.stop()
        self.metrics.close()

    def tick(self, now: float) -> None:
        """Answer requests that waited too long, close unused sessions."""
        self._batcher.expire(now)
        for token, opened in list(self._sessions.items()):
            gone = not opened.local and self._clients.is_disconnected(opened.client)
            allowed = self._disconnect_timeout if gone else self._session_timeout
            if now - opened.last_used > min(allowed, self._session_timeout):
                self._expire(token, now)

    def clients_in_use(self) -> set[bytes]:
        """Clients with sessions."""
        return {opened.client for opened in list(self._sessions.values())}

    def _open(self, request: Request) -> None:
        payload = request.message.payload
        instruction = require(payload, "instruction", str)
        seed = require(payload, "seed", int) if "seed" in payload else 0
        if seed < 0:
            raise ProtocolError(f"A session's seed is a whole number from 0, not {seed}.")
        policy = self._for_robot(payload)
        self._make_room(local=request.local is not None)
        own = sum(opened.client == request.client for opened in self._sessions.values())
        if own >= self.limits.sessions and request.local is None:
            raise Busy(f"This client has {own} sessions open already; close one.")

        def call() -> Payload:
            session = policy.open(instruction, seed)
            token = secrets.token_hex(16)
            self._sessions[token] = _Open(policy, session, request.client, self._clock(), request.local is not None)
            log.info("session %s is open: %s", token[:8], instruction)
            # Which of several embodiments it is; otherwise clients know the contract from hello.
            answer: Payload = {"session": token}
            return answer if policy is self._policy else {**answer, "contract": policy.contract.to_dict()}

        self._submit(request, "", call)

    def _make_room(self, *, local: bool) -> None:
        """Close the session that was unused for longest of those whose clients are gone, if there are too many.

        Those of other protocols leave a share of all sessions to clients of ours.
        """
        if local:
            most = self._max_sessions - self._max_sessions // RESERVE
            if sum(opened.local for opened in self._sessions.values()) >= most:
                raise Busy(f"{self.address} serves {most} sessions of other protocols already; close one, or come later.")
        if len(self._sessions) < self._max_sessions:
            return
        left = (t for t, o in self._sessions.items() if not o.local and self._clients.is_disconnected(o.client))
        longest = min(left, key=lambda token: self._sessions[token].last_used, default=None)
        if longest is None:
            raise Busy(f"{self.address} serves {self._max_sessions} sessions already; close one, or come later.")
        self._expire(longest, self._clock())

    def _expire(self, token: str, now: float) -> None:
        if opened := self._sessions.pop(token, None):
            log.info("session %s was unused for %g s and is closed", token[:8], now - opened.last_used)

    def _step(self, request: Request) -> None:
        token, opened = self._session(request)
        payload = request.message.payload
        earlier = require(payload, "earlier", list) if "earlier" in payload else []
        self._batcher.submit(
            Step(
                name="step",
                session=token,
                client=request.client or token.encode(),
                received=request.received,
                deadline=request.deadline,
                done=partial(self._used, request, opened),
                policy=opened.policy,
                policy_session=opened.session,
                observation=_observation(require(payload, "observation", dict), opened.policy.contract),
                forecast=require(payload, "forecast", bool),
                earlier=[_observation(frame, opened.policy.contract) for frame in earlier],
            )
        )

    def _reset(self, request: Request) -> None:
        token, opened = self._session(request)
        instruction = require(request.message.payload, "instruction", str, type(None))

        def call() -> Payload:
            opened.session.reset(instruction)
            return {}

        self._submit(request, token, call)

    def _close_session(self, request: Request) -> None:
        token, opened = self._session(request)
        del self._sessions[token]
        opened.session.close()
        log.info("session %s is closed", token[:8])
        self.finish(request, {})

    def _submit(self, request: Request, token: str, call: Callable[[], Payload]) -> None:
        done = partial(self.finish, request)
        self._batcher.submit(Call(request.message.kind, token, request.received, request.deadline, done, call))

    def _used(self, request: Request, opened: _Open, outcome: Outcome) -> None:
        opened.last_used = self._clock()
        self.finish(request, outcome)

    def _session(self, request: Request) -> tuple[str, _Open]:
        token = request.message.session or ""
        opened = self._sessions.get(token)
        if opened is None:
            raise UnknownSession(
                f"{self.address} has no session {token!r}: it was closed, unused for {self._session_timeout:g} s, "
                f"or the server was restarted. Open a new one."
            )
        opened.last_used, opened.client = self._clock(), request.client
        return token, opened

    def _for_robot(self, payload: Payload) -> Policy:
        offered = contract_from_payload(require(payload, "contract", dict))
        return self._policy.for_robot(offered, f"the policy at {self.address}", "the robot")


def _observation(payload: Payload, contract: Contract) -> Observation:
    """What is shown to the policy, and so to the session's history: it fits the contract and is finite."""
    observation = observation_from_payload(payload, contract)
    require_finite_observation(observation, contract)
    return observation
