"""Request dispatch of an endpoint: decoding, order, quotas, handlers, and one typed answer to every request."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass

import msgpack
import zmq

from forehand.errors import Busy, ForehandError, HelloRequired, ProtocolError, ServerStopping
from forehand.wire.access import ServerAuth
from forehand.wire.clients import Client, ClientQuotas, Clients
from forehand.wire.errors import error_payload
from forehand.wire.messages import FOREIGN, Message, decode, encode
from forehand.wire.metrics import Metrics
from forehand.wire.serialize import Payload
from forehand.wire.transport import Transport

log = logging.getLogger(__name__)

NOT_REQ = msgpack.packb({"error": f"A client is a DEALER socket and sends no empty frame in front.{FOREIGN}"})
"""The answer to a REQ socket, in the form that GR00T's clients understand."""


@dataclass(frozen=True)
class Request:
    """One request, when it came, and until when its answer is worth having (by the endpoint's clock)."""

    client: bytes
    message: Message
    received: float
    deadline: float
    local: Future[Payload] | None = None
    """Where the answer goes if the request came from within this process."""


Handler = Callable[[Request], None]


class Dispatcher:
    """Passes each message on ``transport`` to the handler of its kind; handlers answer through :meth:`answer`.

    ``role``: what the endpoint is called in errors; ``needed``: the clients that may not be forgotten.
    """

    def __init__(
        self,
        role: str,
        transport: Transport,
        auth: ServerAuth,
        limits: ClientQuotas,
        metrics: Metrics,
        needed: Callable[[], set[bytes]],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.handlers: dict[str, Handler] = {}
        self.clients = Clients()
        self.stopping = False
        """Whether everything but a ping is refused."""
        self._role, self._transport, self._auth = role, transport, auth
        self._limits, self._metrics, self._needed = limits, metrics, needed
        self._clock = clock
        self._counting = threading.Lock()  # of requests that are unanswered

    def dispatch(self, parts: list[zmq.Frame]) -> None:
        """Handle one message, or refuse it."""
        now = self._clock()
        identity, frames = parts[0].bytes, parts[1:]
        self._transport.peers.heard(identity, parts[0])
        if len(frames) > 1 and not len(frames[0].buffer):
            self._transport.send(identity, [b"", NOT_REQ])  # a REQ socket reads nothing else
            return
        try:
            message = decode([frame.buffer for frame in frames], self._limits.message)
        except ProtocolError as error:
            self._send_error(identity, error.request_id, error)
            return
        client = self.clients.get(identity)
        if client is None:
            key = self._auth.key_of(parts[0])
            if not self._auth.is_allowed(key):
                return  # it was disconnected
            if refusal := self._reject_unknown(message):
                self._send_error(identity, message.id, refusal)
                return
            client = self.clients[identity] = Client(-1, now, key)
        if message.kind != "hello" and message.id <= client.last_id:
            return  # a duplicate, or overtaken by a newer one: its answer was sent or is no longer wanted
        client.last_id = message.id
        self.handle(Request(identity, message, now, now + (message.budget or 0.0)), client)

    def handle(self, request: Request, client: Client) -> None:
        """Count ``request`` as the ``client``'s and call its handler; what is raised becomes the answer."""
        try:
            with self._counting:
                client.charge(request.received, self._limits)
            self._handler(request.message)(request)
        except ForehandError as error:
            self.answer(request, error)
        except Exception as error:
            log.exception("the handler of %r failed", request.message.kind)
            self.answer(request, error)

    def answer(self, request: Request, outcome: Payload | Exception) -> None:
        """Answer ``request`` with a result or an error; from any thread, once."""
        kind = request.message.kind if request.message.kind in self.handlers else "unknown"
        code = error_payload(outcome)["code"] if isinstance(outcome, Exception) else "ok"
        self._metrics.request(kind, code, self._clock() - request.received)
        if request.local is not None:
            if isinstance(outcome, Exception):
                request.local.set_exception(outcome)
            else:
                request.local.set_result(outcome)
            return
        client = self.clients.get(request.client)
        if client:
            with self._counting:
                client.pending -= 1
        if not isinstance(outcome, Exception):
            try:
                frames = encode(Message("result", request.message.id, outcome), client.jpeg if client else None)
                self._transport.send(request.client, frames)
                return
            except ProtocolError as error:
                outcome = error
        self._send_error(request.client, request.message.id, outcome)

    def disconnect_revoked(self) -> list[bytes]:
        """Forget the clients whose keys were removed from the allow-list, and return them."""
        revoked = [identity for identity, client in self.clients.items() if not self._auth.is_allowed(client.key)]
        for identity in revoked:
            log.warning("a client is disconnected: its key is no longer allowed here")
            del self.clients[identity]
        return revoked

    def _reject_unknown(self, message: Message) -> ForehandError | None:
        address, most = self._transport.address, self._limits.clients
        if message.kind != "hello":
            return HelloRequired(f"The first message to {address} must be hello; this was {message.kind!r}.")
        if len(self.clients) >= most and not self.clients.make_room(self._needed()):
            return Busy(f"{address} serves {most} clients already; come later.")
        return None

    def _handler(self, message: Message) -> Handler:
        handler = self.handlers.get(message.kind)
        if handler is None:
            known = ", ".join(sorted(self.handlers))
            raise ProtocolError(f"A {self._role} endpoint has no request {message.kind!r}; it has {known}.")
        if message.budget is None:
            raise ProtocolError(f"The request {message.kind!r} has no budget; say how many seconds it may take.")
        if self.stopping and message.kind != "ping":
            raise ServerStopping()
        return handler

    def _send_error(self, client: bytes, identifier: int, error: Exception) -> None:
        payload = error_payload(error)
        payload["message"] = payload["message"][:4096].encode(errors="replace").decode()
        self._transport.send(client, encode(Message("error", identifier, payload)))
