"""One policy for many robots: sessions, batches, deadlines."""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

from forehand.contract import require_fit
from forehand.policy import Policy, Session
from forehand.wire.batching import Batcher, Call, Step
from forehand.wire.clients import Limits
from forehand.wire.convert import Payload, contract_from_payload, need, observation_from_payload, plain
from forehand.wire.endpoint import Endpoint, Request
from forehand.wire.errors import Busy, UnknownSession
from forehand.wire.jobs import Outcome
from forehand.wire.meter import Meter

log = logging.getLogger(__name__)


@dataclass
class _Open:
    session: Session
    client: bytes
    last_used: float
    inside: bool


class PolicyServer(Endpoint):
    """Serves ``policy`` at ``address``; call :meth:`run`.

    ``session_timeout``: seconds after which an unused session is closed; ``absence``: the same where its client is gone;
    ``max_sessions``: more are answered ``busy``; ``max_batch``: sessions computed in one call of the policy;
    ``latency_budget``: seconds for which a step may wait for others to share its batch. The policy is called from one
    thread only.
    """

    role: ClassVar[str] = "policy"

    def __init__(
        self,
        policy: Policy,
        address: str,
        *,
        session_timeout: float = 600.0,
        max_sessions: int = 256,
        absence: float = 30.0,
        max_batch: int = 32,
        latency_budget: float = 0.0,
        warm_up: bool = False,
        insecure: bool = False,
        limits: Limits | None = None,
        meter: Meter | None = None,
    ) -> None:
        super().__init__(address, insecure=insecure, limits=limits, meter=meter)
        self._policy = policy
        self._session_timeout = session_timeout
        self._absence = absence
        self._max_sessions = max_sessions
        self._warm_up = warm_up
        self._batcher = Batcher(policy, max_batch, latency_budget, self.meter)
        self._sessions: dict[str, _Open] = {}  # written by two threads, each time in one atomic step
        self._hello_answer = {"contract": policy.contract.to_dict(), "facts": plain(policy.describe())}
        self._handlers |= {"open": self._open, "step": self._step, "reset": self._reset, "close": self._close_session}

    def greet(self, payload: Payload) -> Payload:
        """Refuse a robot whose contract does not fit; a client may also state it when it opens a session."""
        if need(payload, "contract", dict, type(None)) is not None:
            self._require_fit(payload)
        return self._hello_answer

    def start_work(self) -> None:
        """Start the inference thread, which computes a first answer for nobody if it is to warm up."""
        self.meter.watch("sessions", "open sessions", lambda: len(self._sessions))
        self.meter.watch("queue", "requests that wait for the policy", lambda: len(self._batcher))
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
        self.meter.close()

    def tick(self, now: float) -> None:
        """Answer requests that waited too long, close sessions nobody uses."""
        self._batcher.expire(now)
        for token, opened in list(self._sessions.items()):
            gone = not opened.inside and self._clients.is_gone(opened.client)
            allowed = self._absence if gone else self._session_timeout
            if now - opened.last_used > min(allowed, self._session_timeout):
                self._sessions.pop(token, None)
                log.info("session %s was unused for %g s and is closed", token[:8], now - opened.last_used)

    def _open(self, request: Request) -> None:
        payload = request.message.payload
        instruction = need(payload, "instruction", str)
        self._require_fit(payload)
        if len(self._sessions) >= self._max_sessions:
            raise Busy(f"{self.address} serves {self._max_sessions} sessions already; close one, or come later.")
        own = sum(opened.client == request.client for opened in self._sessions.values())
        if own >= self.limits.sessions and request.inside is None:
            raise Busy(f"This client has {own} sessions open already; close one.")

        def call() -> Payload:
            session = self._policy.open(instruction)
            token = secrets.token_hex(16)
            self._sessions[token] = _Open(session, request.client, time.monotonic(), request.inside is not None)
            log.info("session %s is open: %s", token[:8], instruction)
            return {"session": token}

        self._submit(request, "", call)

    def _step(self, request: Request) -> None:
        token, opened = self._session(request)
        payload = request.message.payload
        earlier = need(payload, "earlier", list) if "earlier" in payload else []
        self._batcher.submit(
            Step(
                name="step",
                session=token,
                client=request.client or token.encode(),
                received=request.received,
                deadline=request.deadline,
                done=partial(self._used, request, opened),
                policy_session=opened.session,
                observation=observation_from_payload(need(payload, "observation", dict), self._policy.contract),
                forecast=need(payload, "forecast", bool),
                earlier=[observation_from_payload(frame, self._policy.contract) for frame in earlier],
            )
        )

    def _reset(self, request: Request) -> None:
        token, opened = self._session(request)
        instruction = need(request.message.payload, "instruction", str, type(None))

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
        opened.last_used = time.monotonic()
        self.finish(request, outcome)

    def _session(self, request: Request) -> tuple[str, _Open]:
        token = request.message.session or ""
        opened = self._sessions.get(token)
        if opened is None:
            raise UnknownSession(
                f"{self.address} has no session {token!r}: it was closed, unused for {self._session_timeout:g} s, "
                f"or the server was restarted. Open a new one."
            )
        opened.last_used, opened.client = time.monotonic(), request.client
        return token, opened

    def _require_fit(self, payload: Payload) -> None:
        offered = contract_from_payload(need(payload, "contract", dict))
        require_fit(self._policy.contract, offered, f"the policy at {self.address}", "the robot")
