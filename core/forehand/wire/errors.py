"""Wire errors: an exception class for every error code of the protocol."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from forehand.errors import (
    Busy,
    ContractMismatch,
    DeadlineExceeded,
    ForehandError,
    HelloRequired,
    InternalError,
    NotFinite,
    ProtocolError,
    RemoteFailure,
    ServerStopping,
    Superseded,
    UnknownSession,
    UnsafeMotion,
    VersionMismatch,
)

CODES: Mapping[str, type[ForehandError]] = {
    "protocol_error": ProtocolError,
    "version_mismatch": VersionMismatch,
    "hello_required": HelloRequired,
    "contract_mismatch": ContractMismatch,
    "not_finite": NotFinite,
    "unknown_session": UnknownSession,
    "deadline_exceeded": DeadlineExceeded,
    "superseded": Superseded,
    "busy": Busy,
    "stopping": ServerStopping,
    "unsafe_motion": UnsafeMotion,
    "failed": RemoteFailure,
    "internal": InternalError,
}
_CODE_OF: Mapping[type[Exception], str] = {kind: code for code, kind in CODES.items()}


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
