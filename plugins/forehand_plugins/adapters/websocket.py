"""Base class of protocol adapters over websockets: listening, access control, a thread for each client."""

from __future__ import annotations

import http
import logging
import threading
from abc import abstractmethod
from contextlib import suppress

from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response
from websockets.sync.server import Server, ServerConnection, serve

from forehand.errors import AddressUnavailable, ForehandError
from forehand.wire.adapters.adapter import ClientSession, ProtocolAdapter
from forehand.wire.adapters.listener import SPARE, Listener
from forehand.wire.descriptors import room_for

log = logging.getLogger(__name__)

MAX_MESSAGE = 64 * 2**20
MAX_CLIENTS = 256
MAX_CONNECTIONS = MAX_CLIENTS + 64
"""Those that have not shown the key yet included."""

MAX_ERROR = 4096
QUEUE = 1
"""Messages that wait for each client: they send one request at a time."""

OPENING = 5.0
"""Seconds in which a client has to show the key."""

GOING_AWAY, FAILED = 1001, 1011
"""Codes with which connections are closed (RFC 6455, section 7.4.1)."""


class WebsocketAdapter(ProtocolAdapter):
    """Each connection is a session and has a thread of its own, which waits for the policy without keeping others."""

    scheme = "ws"

    def open(self) -> None:
        """Listen."""
        name = f"adapters.{self.protocol}"
        try:
            self._listener = Listener.at(self.host, self.port, room_for(MAX_CONNECTIONS, name, each=SPARE))
        except OSError as error:
            raise AddressUnavailable(
                f"{name} cannot listen at {self.host}:{self.port}: {error}. Choose another {name}.port."
            ) from error
        self._server: Server = serve(
            self._attend,
            sock=self._listener,
            compression=None,
            max_size=MAX_MESSAGE,
            max_queue=QUEUE,
            open_timeout=OPENING,
            process_request=self._before,
        )
        self.port = self._listener.getsockname()[1]
        self._connections: set[ServerConnection] = set()
        self._thread = threading.Thread(target=self._server.serve_forever, name=f"{self.protocol} adapter", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Close every connection with the code for "going away"."""
        self._server.shutdown()
        for connection in list(self._connections):
            closing = (GOING_AWAY, "the server is stopping")
            threading.Thread(target=connection.close, args=closing, daemon=True).start()
        self._thread.join()

    @abstractmethod
    def converse(self, connection: ServerConnection, session: ClientSession) -> None:
        """Answer a client until it leaves; what is raised is sent to it as :meth:`failure`, and ends the connection."""

    @abstractmethod
    def failure(self, words: str) -> str | bytes:
        """The message that says what failed."""

    @abstractmethod
    def key_of(self, request: Request) -> str | None:
        """The key that a client shows in its opening request."""

    def path_response(self, path: str) -> str | None:
        """The answer to a plain request for ``path``, such as that for the server's health; None where there is none."""
        return None

    def _before(self, connection: ServerConnection, request: Request) -> Response | None:
        if (answer := self.path_response(request.path)) is not None:
            return connection.respond(http.HTTPStatus.OK, answer)
        if not self.authenticate(self.key_of(request)):
            return connection.respond(http.HTTPStatus.UNAUTHORIZED, "This server requires an API key.\n")
        if len(self._connections) >= MAX_CLIENTS:
            return connection.respond(
                http.HTTPStatus.SERVICE_UNAVAILABLE, f"{MAX_CLIENTS} clients are connected already.\n"
            )
        self._listener.welcomed(connection.socket)
        return None

    def _attend(self, connection: ServerConnection) -> None:
        self._connections.add(connection)
        session: ClientSession | None = None
        try:
            session = ClientSession(self)
            self.converse(connection, session)
        except ConnectionClosed:
            pass
        except Exception as error:
            if not isinstance(error, ForehandError):
                log.exception("the %s adapter failed", self.protocol)
            with suppress(ConnectionClosed):
                connection.send(self.failure(f"{type(error).__name__}: {error}"[:MAX_ERROR]))
                connection.close(FAILED, "see the message before")
        finally:
            self._connections.discard(connection)
            if session is not None:
                with suppress(ForehandError):
                    session.close()
