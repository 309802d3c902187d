"""What can go wrong between two processes: an exception class for every code on the wire."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from forehand.errors import ContractMismatch, ForehandError


class WireError(ForehandError):
    """Root of the errors that arise between two processes."""


class ProtocolError(WireError):
    """A message breaks the protocol. ``request_id`` is the request it belonged to, 0 where that could not be read."""

    def __init__(self, message: str, request_id: int = 0) -> None:
        super().__init__(message)
        self.request_id = request_id


class VersionMismatch(ProtocolError):
    """The two sides speak different versions of the protocol."""


class HelloRequired(ProtocolError):
    """A client asked for something before it said hello, or so long after that it was forgotten."""


class UnknownSession(WireError):
    """The session was never opened here, was closed, expired, or was lost in a restart."""


class DeadlineExceeded(WireError):
    """The time budget of a request ran out before there was an answer."""


class Busy(WireError):
    """The other side is at its limit, or the robot is held by someone else."""


class ServerStopping(WireError):
    """The server is on its way down and computes nothing more."""


class RemoteFailure(WireError):
    """The other side failed on purpose, with an error of its own; the message is that error's."""


class InternalError(WireError):
    """The other side failed by accident: a bug, there or in a part it runs; the message carries the exception."""


class ConnectionLost(WireError):
    """Nobody answers at the address, or the connection broke. Never sent: the client finds it out itself."""


class AccessDenied(WireError):
    """Keys are missing, unknown to the other side or not its own; never sent: nobody speaks before that is settled."""


class AddressUnavailable(WireError):
    """An address cannot be bound or connected to: taken, forbidden, or not an address."""


CODES: Mapping[str, type[ForehandError]] = {
    "protocol_error": ProtocolError,
    "version_mismatch": VersionMismatch,
    "hello_required": HelloRequired,
    "contract_mismatch": ContractMismatch,
    "unknown_session": UnknownSession,
    "deadline_exceeded": DeadlineExceeded,
    "busy": Busy,
    "stopping": ServerStopping,
    "failed": RemoteFailure,
    "internal": InternalError,
}
_CODE_OF: Mapping[type[Exception], str] = {kind: code for code, kind in CODES.items()}


def stopping() -> ServerStopping:
    """What everyone is told from the moment an endpoint is asked to stop."""
    return ServerStopping("The server is stopping. Connect again when it is back.")


def error_payload(error: Exception) -> dict[str, Any]:
    """``{code, message}`` for any exception: ours keep their message as it is, accidents are ``internal``."""
    if code := _CODE_OF.get(type(error)):
        return {"code": code, "message": str(error)}
    if isinstance(error, ForehandError):
        return {"code": "failed", "message": str(error)}
    return {"code": "internal", "message": f"{type(error).__name__}: {error}"}


def error_from_payload(payload: Mapping[str, Any]) -> ForehandError:
    """The exception that an error message stands for; an unknown code becomes a :class:`RemoteFailure`."""
    code, message = payload.get("code"), payload.get("message")
    if not isinstance(code, str) or not isinstance(message, str):
        return ProtocolError(f"An error arrived without a code and a message: {dict(payload)!r}.")
    kind = CODES.get(code)
    return kind(message) if kind else RemoteFailure(f"{code}: {message}")
