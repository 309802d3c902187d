"""The serving side of a connection: one socket, one thread that reads and writes it, one typed answer to every request.

What is served (a policy, a robot) lives in threads of its own and never touches the socket: its answers are laid in an
outbox, and a byte through a socket pair wakes the thread that sends them.
"""

from __future__ import annotations

import logging
import signal
import socket
import threading
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import zmq

from forehand.errors import ForehandError
from forehand.wire.access import Gate
from forehand.wire.bind import bind
from forehand.wire.convert import Payload
from forehand.wire.errors import (
    Busy,
    DeadlineExceeded,
    HelloRequired,
    ProtocolError,
    ServerStopping,
    error_payload,
)
from forehand.wire.messages import MAX_FRAMES, Message, decode, encode

log = logging.getLogger(__name__)

TICK = 0.1
"""Seconds between looks at the clock while nothing arrives."""

MAX_CLIENTS = 1024
MAX_PENDING = 8
"""Unanswered requests of one client; it gets ``busy`` beyond that."""

CLIENT_TIMEOUT = 600.0
"""Seconds after which a silent client is forgotten, and has to say hello again."""


@dataclass(frozen=True)
class Request:
    """One request, when it came, and until when its answer is worth having (``time.monotonic()`` of this process)."""

    client: bytes
    message: Message
    received: float
    deadline: float
    inside: Future[Payload] | None = None
    """Where the answer goes if the request came from within this process."""


@dataclass
class _Client:
    last_id: int
    last_heard: float
    pending: int = 0


class Endpoint(ABC):
    """A bound ROUTER socket and its protocol; subclasses add what is served.

    ``address``: where it really listens, known as soon as it is made (``tcp://127.0.0.1:0`` takes a free port).
    """

    role: ClassVar[str]

    def __init__(self, address: str, *, insecure: bool = False) -> None:
        """Bind; raises :class:`AddressUnavailable` or :class:`AccessDenied`, which say what to do.

        Off loopback, clients need keys (:mod:`forehand.wire.access`), unless ``insecure`` lets everyone in.
        """
        self._handlers: dict[str, Callable[[Request], None]] = {"hello": self._hello, "ping": self._ping}
        self._clients: dict[bytes, _Client] = {}
        self._outbox: deque[tuple[bytes, list[bytes | memoryview]]] = deque()
        self._inside: deque[Request] = deque()
        self._stopping = False
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
    def finish_work(self) -> None:
        """Stop it, in bounded time: the last answers, then nothing more."""

    @abstractmethod
    def tick(self, now: float) -> None:
        """Look at the clock: called at least every ``TICK`` seconds by the thread that owns the socket."""

    def run(self) -> None:
        """Serve until :meth:`stop`, or in the main thread until SIGTERM or Ctrl-C; then close the socket."""
        self._serving = threading.current_thread()
        try:
            with self._stopped_by_signals():
                self.start_work()
                try:
                    while not self._stopping:
                        self._turn()
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

    def ask(self, kind: str, payload: Payload, *, budget: float, session: str | None = None) -> Payload:
        """The result of one request from within this process, in its turn among all others; or its error, raised.

        From any thread but the serving one. Arrays are handed over as they are.
        """
        if self._stopping:
            raise ServerStopping("The server is stopping.")
        answer: Future[Payload] = Future()
        now = time.monotonic()
        self._inside.append(Request(b"", Message(kind, 0, payload, session, budget), now, now + budget, answer))
        self._wake()
        try:
            return answer.result(budget)
        except TimeoutError:
            raise DeadlineExceeded(
                f"{kind!r} was not answered within {budget:g} s: what is served is slow or stuck."
            ) from None

    def finish(self, request: Request, outcome: Payload | Exception) -> None:
        """Answer ``request`` with a result or an error; from any thread, once."""
        if request.inside is not None:
            if isinstance(outcome, Exception):
                request.inside.set_exception(outcome)
            else:
                request.inside.set_result(outcome)
            return
        identifier = request.message.id
        if not isinstance(outcome, Exception):
            try:
                self._post(request.client, encode(Message("result", identifier, outcome)))
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
            for _ in range(MAX_PENDING):  # a flood must not keep answers and the clock waiting
                parts = self._receive()
                if parts is None:
                    break
                self._judge(parts[0].bytes, parts[1:])
        now = time.monotonic()
        for _ in range(len(self._inside)):
            self._attempt(self._inside.popleft(), _Client(0, now))
        self._forget_silent_clients(now)
        self.tick(now)

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

    def _judge(self, identity: bytes, frames: list[zmq.Frame]) -> None:
        """Decode, check the order of things, hand to the handler of its kind."""
        now = time.monotonic()
        try:
            message = decode([frame.buffer for frame in frames])
        except ProtocolError as error:
            self._send(identity, _error(error.request_id, error))
            return
        client = self._clients.get(identity)
        if client is None:
            if refusal := self._refuse_stranger(message):
                self._send(identity, _error(message.id, refusal))
                return
            client = self._clients[identity] = _Client(-1, now)
        if message.kind != "hello" and message.id <= client.last_id:
            return  # a duplicate, or overtaken by a newer one: its answer was sent or is no longer wanted
        client.last_id, client.last_heard = message.id, now
        client.pending += 1
        request = Request(identity, message, now, now + (message.budget or 0.0))
        self._attempt(request, client)

    def _attempt(self, request: Request, client: _Client) -> None:
        try:
            self._handle(request, client)
        except ForehandError as error:
            self.finish(request, error)
        except Exception as error:
            log.exception("the handler of %r failed", request.message.kind)
            self.finish(request, error)

    def _refuse_inside(self) -> None:
        while self._inside:
            self.finish(self._inside.popleft(), ServerStopping("The server is stopping."))

    def _refuse_stranger(self, message: Message) -> ForehandError | None:
        if message.kind != "hello":
            return HelloRequired(f"The first message to {self.address} must be hello; this was {message.kind!r}.")
        if len(self._clients) >= MAX_CLIENTS:
            return Busy(f"{self.address} serves {MAX_CLIENTS} clients already; come later.")
        return None

    def _handle(self, request: Request, client: _Client) -> None:
        message = request.message
        handler = self._handlers.get(message.kind)
        if handler is None:
            raise ProtocolError(
                f"A {self.role} endpoint knows no request {message.kind!r}; it knows {', '.join(sorted(self._handlers))}."
            )
        if message.budget is None:
            raise ProtocolError(f"The request {message.kind!r} has no budget; say how many seconds it may take.")
        if client.pending > MAX_PENDING:
            raise Busy(f"This client has {MAX_PENDING} unanswered requests; wait for the answers.")
        handler(request)

    def _hello(self, request: Request) -> None:
        try:
            answer = self.greet(request.message.payload)
        except ForehandError:
            del self._clients[request.client]  # a client that does not fit stays a stranger
            raise
        self.finish(request, {"role": self.role, **answer})

    def _ping(self, request: Request) -> None:
        self.finish(request, {})

    def _flush(self) -> None:
        while self._outbox:
            identity, frames = self._outbox.popleft()
            if client := self._clients.get(identity):
                client.pending -= 1
                client.last_heard = time.monotonic()
            self._send(identity, frames)

    def _send(self, identity: bytes, frames: list[bytes | memoryview]) -> None:
        """Only in the thread that owns the socket. A ROUTER drops what nobody is there to read."""
        self._socket.send_multipart([identity, *frames], copy=False)

    def _forget_silent_clients(self, now: float) -> None:
        silent = [i for i, c in self._clients.items() if not c.pending and now - c.last_heard > CLIENT_TIMEOUT]
        for identity in silent:
            del self._clients[identity]

    def _close(self) -> None:
        self._socket.close(linger=1000)
        self._gate.close()
        self._wake_reader.close()
        self._wake_writer.close()

    @contextmanager
    def _stopped_by_signals(self) -> Iterator[None]:
        """The first SIGTERM or Ctrl-C stops cleanly; a second one does what it did before."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before: dict[int, Any] = {}

        def restore() -> None:
            while before:
                signal.signal(*before.popitem())

        def handle(number: int, frame: object) -> None:
            restore()
            self.stop()

        for number in (signal.SIGTERM, signal.SIGINT):
            before[number] = signal.signal(number, handle) or signal.SIG_DFL
        try:
            yield
        finally:
            restore()


def _error(identifier: int, error: Exception) -> list[bytes | memoryview]:
    payload = error_payload(error)
    payload["message"] = payload["message"][:4096].encode(errors="replace").decode()
    return encode(Message("error", identifier, payload))
