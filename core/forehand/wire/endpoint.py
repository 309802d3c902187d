"""Lifecycle of an endpoint: start, serve, drain, stop.

What is served (a policy, a robot) lives in threads of its own; see :mod:`forehand.wire.transport` for the socket and
:mod:`forehand.wire.dispatcher` for requests.
"""

from __future__ import annotations

import logging
import threading
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import ClassVar, Self

from forehand.errors import DeadlineExceeded, ForehandError, ProtocolError, ServerStopping
from forehand.utils.signals import stopped_by_signals
from forehand.wire.access import ServerAuth
from forehand.wire.clients import Client, ClientQuotas
from forehand.wire.dispatcher import Dispatcher, Request
from forehand.wire.jpeg import AVAILABLE
from forehand.wire.messages import Message
from forehand.wire.metrics import Metrics
from forehand.wire.serialize import Payload, require
from forehand.wire.transport import Transport

log = logging.getLogger(__name__)

TICK = 0.1
"""Seconds between looks at the clock while nothing arrives."""

DRAIN_TIMEOUT = 5.0
"""Seconds that accepted work may take to finish once the endpoint is asked to stop."""

SPARE = 64
"""Connections that may be open beyond those of clients: they have not said hello yet, or are about to end."""

READS = 8
"""Messages read in one turn: a flood must not keep the clock waiting."""


class Endpoint(ABC):
    """A bound ROUTER socket and its protocol; subclasses add what is served.

    ``address``: where it really listens, known as soon as it is made (``tcp://127.0.0.1:0`` takes a free port).
    """

    role: ClassVar[str]

    def __init__(
        self,
        address: str,
        *,
        insecure: bool = False,
        limits: ClientQuotas | None = None,
        metrics: Metrics | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Bind; raises :class:`AddressUnavailable` or :class:`AccessDenied`, which say what to do.

        Off loopback, clients need keys (:mod:`forehand.wire.access`), unless ``insecure`` lets everyone in. ``limits``:
        what each client may ask; ``metrics``: what to report to; ``clock``: the time in seconds by which requests,
        clients and sessions expire.
        """
        self.limits = limits or ClientQuotas()
        self.metrics = metrics or Metrics()
        self._clock = clock
        auth = ServerAuth(address, insecure=insecure)
        # A connection may be open before it says hello, and a moment longer than its client is one.
        self._transport = Transport(address, auth, self.limits.clients + SPARE)
        self._dispatcher = Dispatcher(
            self.role, self._transport, auth, self.limits, self.metrics, self.clients_in_use, clock
        )
        self._dispatcher.handlers |= {"hello": self._hello, "ping": self._ping}
        self._clients = self._dispatcher.clients
        self._local: deque[Request] = deque()
        self._next_tick = 0.0
        self._more = True  # messages may wait beyond those of the last turn
        self.address = self._transport.address

    @abstractmethod
    def greet(self, payload: Payload) -> Payload:
        """Compare contracts, and say what is served: ``{contract, facts}``."""

    @abstractmethod
    def start_work(self) -> None:
        """Start what is served; raise if it cannot be."""

    @abstractmethod
    def drain_work(self) -> None:
        """Begin to stop, without waiting: finish what was accepted, take nothing more."""

    @abstractmethod
    def is_working(self) -> bool:
        """Whether something that was accepted is still to be answered."""

    @abstractmethod
    def finish_work(self) -> None:
        """Stop: refuse what is left, and let go of what is served."""

    @abstractmethod
    def tick(self, now: float) -> None:
        """Handle timeouts: called at least every ``TICK`` seconds by the thread that owns the socket."""

    def tick_by(self, when: float) -> None:
        """Let the next :meth:`tick` come no later than ``when`` (by the endpoint's clock); by that same thread."""
        self._next_tick = min(self._next_tick, when)

    def on_disconnect(self, client: bytes) -> None:  # noqa: B027  (not everyone has to do something)
        """Called when a client's connection has ended, or its heartbeats have; by the thread that owns the socket."""

    def clients_in_use(self) -> set[bytes]:
        """The clients that have a session or the robot, and so are not removed to make room."""
        return set()

    def run(self) -> None:
        """Serve until :meth:`stop`, or in the main thread until SIGTERM or Ctrl-C; then close the socket."""
        try:
            with stopped_by_signals(self.stop):
                self.start_work()
                self.metrics.gauge("clients", "clients that are connected", lambda: len(self._clients))
                try:
                    while not self._dispatcher.stopping:
                        self._poll_once()
                    self._drain()
                finally:
                    self.finish_work()
                    self._refuse_local()
        finally:
            self._transport.close()

    def stop(self) -> None:
        """Make :meth:`run` return soon; from any thread and from signal handlers."""
        self._dispatcher.stopping = True
        self._transport.wake()

    @contextmanager
    def running(self) -> Iterator[Self]:
        """Serve from a thread of its own for the length of a ``with`` block."""
        failures: list[Exception] = []

        def run() -> None:
            try:
                self.run()
            except Exception as error:  # raised again below, where someone can see it
                failures.append(error)

        thread = threading.Thread(target=run, name=f"{self.role} endpoint", daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self.stop()
            thread.join()
            for error in failures:
                raise error

    def call_local(
        self, kind: str, payload: Payload, *, budget: float, session: str | None = None, client: bytes = b""
    ) -> Payload:
        """The result of one request from within this process, in its turn among all others; or its error, raised.

        From any thread but the serving one. Arrays are handed over as they are. ``client``: whose turn it takes.
        """
        if self._dispatcher.stopping:
            raise ServerStopping()
        answer: Future[Payload] = Future()
        now = self._clock()
        self._local.append(Request(client, Message(kind, 0, payload, session, budget), now, now + budget, answer))
        self._transport.wake()
        try:
            return answer.result(budget)
        except TimeoutError:
            raise DeadlineExceeded(
                f"{kind!r} was not answered within {budget:g} s: what is served is slow or stuck."
            ) from None

    def finish(self, request: Request, outcome: Payload | Exception) -> None:
        """Answer ``request`` with a result or an error; from any thread, once."""
        self._dispatcher.answer(request, outcome)

    def _poll_once(self) -> None:
        timeout = 0.0 if self._more else max(0.0, self._next_tick - self._clock())
        changed = self._transport.wait(timeout)
        self._more = True
        for _ in range(READS):
            parts = self._transport.receive()
            if parts is None:
                self._more = False
                break
            self._dispatcher.dispatch(parts)
        now = self._clock()
        for _ in range(len(self._local)):
            self._dispatcher.handle(self._local.popleft(), Client(0, now))
        due = now >= self._next_tick
        if changed or due:
            self._clients.end(self._transport.peers.left())
        if due:
            self._next_tick = now + TICK
            for client in [*self._dispatcher.disconnect_revoked(), *self._clients.expired(now)]:
                self.on_disconnect(client)
            self.tick(now)

    def _drain(self) -> None:
        """Answer what was accepted, and refuse what comes, until all is done or the time for it is over."""
        log.info("stopping: what was accepted is finished, what comes is refused")
        self.drain_work()
        end = time.monotonic() + DRAIN_TIMEOUT
        while self.is_working() and time.monotonic() < end:
            self._poll_once()

    def _refuse_local(self) -> None:
        while self._local:
            self.finish(self._local.popleft(), ServerStopping())

    def _hello(self, request: Request) -> None:
        payload = request.message.payload
        try:
            answer = self.greet(payload)
            heartbeat = require({"heartbeat": None, **payload}, "heartbeat", float, type(None))
            jpeg = require({"jpeg": None, **payload}, "jpeg", int, type(None))
            if jpeg is not None and not (AVAILABLE and 1 <= jpeg <= 100):
                raise ProtocolError(f"Pictures of quality {jpeg} cannot be sent from here; see 'jpeg' in hello's answer.")
        except ForehandError:
            self._clients.pop(request.client, None)  # a client that does not fit stays unknown
            raise
        if client := self._clients.get(request.client):
            client.heartbeat, client.jpeg = heartbeat, jpeg
        self.finish(request, {"role": self.role, "jpeg": AVAILABLE, **answer})

    def _ping(self, request: Request) -> None:
        self.finish(request, {"time": time.time()})
