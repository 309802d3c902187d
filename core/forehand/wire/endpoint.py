"""The serving side of a connection: one socket, one thread that reads and writes it, one typed answer to every request.

What is served (a policy, a robot) lives in threads of its own and never touches the socket: its answers are laid in an
outbox, and a byte through a socket pair wakes the thread that sends them.
"""

from __future__ import annotations

import logging
import socket
import threading
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import ClassVar, Self

import zmq

from forehand.errors import ForehandError
from forehand.wire.access import Gate
from forehand.wire.bind import bind
from forehand.wire.clients import Client, Clients, Limits
from forehand.wire.convert import Payload, need
from forehand.wire.errors import (
    Busy,
    DeadlineExceeded,
    HelloRequired,
    ProtocolError,
    error_payload,
    stopping,
)
from forehand.wire.messages import MAX_FRAMES, Message, decode, encode
from forehand.wire.meter import Meter
from forehand.wire.pictures import AVAILABLE
from forehand.wire.signals import stopped_by_signals

log = logging.getLogger(__name__)

TICK = 0.1
"""Seconds between looks at the clock while nothing arrives."""

GRACE = 5.0
"""Seconds that accepted work may take to finish once the endpoint is asked to stop."""

READS = 8
"""Messages read in one turn: a flood must not keep answers and the clock waiting."""


@dataclass(frozen=True)
class Request:
    """One request, when it came, and until when its answer is worth having (``time.monotonic()`` of this process)."""

    client: bytes
    message: Message
    received: float
    deadline: float
    inside: Future[Payload] | None = None
    """Where the answer goes if the request came from within this process."""


class Endpoint(ABC):
    """A bound ROUTER socket and its protocol; subclasses add what is served.

    ``address``: where it really listens, known as soon as it is made (``tcp://127.0.0.1:0`` takes a free port).
    """

    role: ClassVar[str]

    def __init__(
        self, address: str, *, insecure: bool = False, limits: Limits | None = None, meter: Meter | None = None
    ) -> None:
        """Bind; raises :class:`AddressUnavailable` or :class:`AccessDenied`, which say what to do.

        Off loopback, clients need keys (:mod:`forehand.wire.access`), unless ``insecure`` lets everyone in. ``limits``:
        what each client may ask; ``meter``: whom to tell what is going on.
        """
        self.limits = limits or Limits()
        self.meter = meter or Meter()
        self._handlers: dict[str, Callable[[Request], None]] = {"hello": self._hello, "ping": self._ping}
        self._clients = Clients()
        self._outbox: deque[tuple[bytes, list[bytes | memoryview]]] = deque()
        self._inside: deque[Request] = deque()
        self._stopping = False
        self._next_tick = 0.0
        self._serving: threading.Thread | None = None
        self._gate = Gate(address, insecure=insecure)
        self._socket = bind(address, self._gate)
        self.address = self._socket.getsockopt_string(zmq.LAST_ENDPOINT)
        self._wake_reader, self._wake_writer = socket.socketpair()
        self._wake_reader.setblocking(False)
        self._wake_writer.setblocking(False)
        self._poller = zmq.Poller()
        self._poller.register(self._socket, zmq.POLLIN)
        self._poller.register(self._wake_reader, zmq.POLLIN)

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
        """Look at the clock: called at least every ``TICK`` seconds by the thread that owns the socket."""

    def lost(self, client: bytes) -> None:  # noqa: B027  (not everyone has to do something)
        """Called when a client that promised heartbeats has gone silent; by the thread that owns the socket."""

    def run(self) -> None:
        """Serve until :meth:`stop`, or in the main thread until SIGTERM or Ctrl-C; then close the socket."""
        self._serving = threading.current_thread()
        try:
            with stopped_by_signals(self.stop):
                self.start_work()
                self.meter.watch("clients", "clients heard lately", lambda: len(self._clients))
                try:
                    while not self._stopping:
                        self._turn()
                    self._drain()
                finally:
                    self.finish_work()
                    self._refuse_inside()
                    self._flush()
        finally:
            self._close()

    def stop(self) -> None:
        """Make :meth:`run` return soon; from any thread and from signal handlers."""
        self._stopping = True
        self._wake()

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

    def ask(
        self, kind: str, payload: Payload, *, budget: float, session: str | None = None, client: bytes = b""
    ) -> Payload:
        """The result of one request from within this process, in its turn among all others; or its error, raised.

        From any thread but the serving one. Arrays are handed over as they are. ``client``: who takes turns with others.
        """
        if self._stopping:
            raise stopping()
        answer: Future[Payload] = Future()
        now = time.monotonic()
        self._inside.append(Request(client, Message(kind, 0, payload, session, budget), now, now + budget, answer))
        self._wake()
        try:
            return answer.result(budget)
        except TimeoutError:
            raise DeadlineExceeded(
                f"{kind!r} was not answered within {budget:g} s: what is served is slow or stuck."
            ) from None

    def finish(self, request: Request, outcome: Payload | Exception) -> None:
        """Answer ``request`` with a result or an error; from any thread, once."""
        kind = request.message.kind if request.message.kind in self._handlers else "unknown"
        code = error_payload(outcome)["code"] if isinstance(outcome, Exception) else "ok"
        self.meter.answered(kind, code, time.monotonic() - request.received)
        if request.inside is not None:
            if isinstance(outcome, Exception):
                request.inside.set_exception(outcome)
            else:
                request.inside.set_result(outcome)
            return
        identifier = request.message.id
        if not isinstance(outcome, Exception):
            try:
                client = self._clients.get(request.client)
                jpeg = client.jpeg if client else None
                self._post(request.client, encode(Message("result", identifier, outcome), jpeg))
                return
            except ProtocolError as error:
                outcome = error
        self._post(request.client, _error(identifier, outcome))

    def _post(self, client: bytes, frames: list[bytes | memoryview]) -> None:
        self._outbox.append((client, frames))
        if threading.current_thread() is not self._serving:  # that one sends before it waits
            self._wake()

    def _wake(self) -> None:
        with suppress(OSError):  # full, so the thread is about to wake anyway; or closed, so nobody waits
            self._wake_writer.send(b"\0")

    def _turn(self) -> None:
        self._flush()
        ready = dict(self._poller.poll(int(TICK * 1000)))
        if self._wake_reader.fileno() in ready:
            self._wake_reader.recv(4096)
        if self._socket in ready:
            for _ in range(READS):
                parts = self._receive()
                if parts is None:
                    break
                self._judge(parts)
        now = time.monotonic()
        for _ in range(len(self._inside)):
            self._attempt(self._inside.popleft(), Client(0, now))
        if now >= self._next_tick:
            self._next_tick = now + TICK
            self._send_away()
            for client in self._clients.leaving(now):
                self.lost(client)
            self.tick(now)

    def _send_away(self) -> None:
        """Hear no more of those whose keys were removed from the allow-list."""
        for identity, client in list(self._clients.items()):
            if not self._gate.still_allows(client.key):
                log.warning("a client is sent away: its key is no longer allowed here")
                del self._clients[identity]
                self.lost(identity)

    def _drain(self) -> None:
        """Answer what was accepted, and refuse what comes, until all is done or the time for it is over."""
        log.info("stopping: what was accepted is finished, what comes is refused")
        self.drain_work()
        end = time.monotonic() + GRACE
        while self.is_working() and time.monotonic() < end:
            self._turn()

    def _receive(self) -> list[zmq.Frame] | None:
        """The parts of one message, or None; parts beyond what any message may have are dropped as they come."""
        parts: list[zmq.Frame] = []
        try:
            while True:
                part = self._socket.recv(zmq.NOBLOCK, copy=False)
                if len(parts) <= MAX_FRAMES + 1:
                    parts.append(part)
                if not part.more:
                    return parts
        except zmq.Again:
            return None

    def _judge(self, parts: list[zmq.Frame]) -> None:
        """Decode, check the order of things, hand to the handler of its kind."""
        now = time.monotonic()
        identity, frames = parts[0].bytes, parts[1:]
        try:
            message = decode([frame.buffer for frame in frames], self.limits.message)
        except ProtocolError as error:
            self._send(identity, _error(error.request_id, error))
            return
        client = self._clients.get(identity)
        if client is None:
            key = self._gate.key_of(parts[0])
            if not self._gate.still_allows(key):
                return  # it was sent away, and hears nothing any more
            if refusal := self._refuse_stranger(message):
                self._send(identity, _error(message.id, refusal))
                return
            client = self._clients[identity] = Client(-1, now, key)
        if message.kind != "hello" and message.id <= client.last_id:
            return  # a duplicate, or overtaken by a newer one: its answer was sent or is no longer wanted
        client.last_id = message.id
        request = Request(identity, message, now, now + (message.budget or 0.0))
        self._attempt(request, client)

    def _attempt(self, request: Request, client: Client) -> None:
        try:
            client.charge(request.received, self.limits)
            self._handle(request)
        except ForehandError as error:
            self.finish(request, error)
        except Exception as error:
            log.exception("the handler of %r failed", request.message.kind)
            self.finish(request, error)

    def _refuse_inside(self) -> None:
        while self._inside:
            self.finish(self._inside.popleft(), stopping())

    def _refuse_stranger(self, message: Message) -> ForehandError | None:
        if message.kind != "hello":
            return HelloRequired(f"The first message to {self.address} must be hello; this was {message.kind!r}.")
        if len(self._clients) >= self.limits.clients:
            return Busy(f"{self.address} serves {self.limits.clients} clients already; come later.")
        return None

    def _handle(self, request: Request) -> None:
        message = request.message
        handler = self._handlers.get(message.kind)
        if handler is None:
            raise ProtocolError(
                f"A {self.role} endpoint knows no request {message.kind!r}; it knows {', '.join(sorted(self._handlers))}."
            )
        if message.budget is None:
            raise ProtocolError(f"The request {message.kind!r} has no budget; say how many seconds it may take.")
        if self._stopping and message.kind != "ping":
            raise stopping()
        handler(request)

    def _hello(self, request: Request) -> None:
        payload = request.message.payload
        try:
            answer = self.greet(payload)
            heartbeat = need({"heartbeat": None, **payload}, "heartbeat", float, type(None))
            jpeg = need({"jpeg": None, **payload}, "jpeg", int, type(None))
            if jpeg is not None and not (AVAILABLE and 1 <= jpeg <= 100):
                raise ProtocolError(f"Pictures of quality {jpeg} cannot be sent from here; see 'jpeg' in hello's answer.")
        except ForehandError:
            self._clients.pop(request.client, None)  # a client that does not fit stays a stranger
            raise
        if client := self._clients.get(request.client):
            client.heartbeat, client.jpeg = heartbeat, jpeg
        self.finish(request, {"role": self.role, "jpeg": AVAILABLE, **answer})

    def _ping(self, request: Request) -> None:
        self.finish(request, {"time": time.time()})

    def _flush(self) -> None:
        while self._outbox:
            identity, frames = self._outbox.popleft()
            if client := self._clients.get(identity):
                client.pending -= 1
            self._send(identity, frames)

    def _send(self, identity: bytes, frames: list[bytes | memoryview]) -> None:
        """Only in the thread that owns the socket. A ROUTER drops what nobody is there to read."""
        self._socket.send_multipart([identity, *frames], copy=False)

    def _close(self) -> None:
        self._socket.close(linger=1000)
        self._gate.close()
        self._wake_reader.close()
        self._wake_writer.close()


def _error(identifier: int, error: Exception) -> list[bytes | memoryview]:
    payload = error_payload(error)
    payload["message"] = payload["message"][:4096].encode(errors="replace").decode()
    return encode(Message("error", identifier, payload))
