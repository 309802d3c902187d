"""Base class of errors with a message for the user: what was wrong, where, and what to do."""

from __future__ import annotations

import difflib
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager


class ForehandError(Exception):
    """Root of every error that Forehand raises on purpose; commands print its message without a traceback."""


class UnknownName(ForehandError):
    """No part, kind or plugin is registered under a name."""


class BrokenPlugin(ForehandError):
    """A part cannot be created, since its plugin could not be loaded."""


class ContractMismatch(ForehandError):
    """Two sides describe what is measured or commanded differently; nothing may move."""


class NotFinite(ForehandError):
    """A measurement or an answer holds NaN or infinity; it is neither used nor passed on."""


class UnsafeMotion(ForehandError):
    """A command could not be kept inside a robot's limits, or its position is unknown; no motion is commanded."""


class ConfigurationError(ForehandError):
    """A configuration is invalid, or describes something that cannot be built."""


class DatasetError(ForehandError):
    """A dataset is missing, unreadable, or lacks required data."""


class CheckpointError(ForehandError):
    """A checkpoint is missing, unreadable, or does not fit what is loading it."""


class PartFailed(ForehandError):
    """A driver or a policy raised what is no Exception, such as SystemExit, which ends a thread or a program."""


def describe(error: BaseException) -> str:
    """The text of an error: its message, after its type unless it is a :class:`ForehandError`, and its notes by line."""
    words = str(error) if isinstance(error, ForehandError) else f"{type(error).__name__}: {error}"
    return "\n".join([words, *getattr(error, "__notes__", ())])


def first_line(error: BaseException) -> str:
    """The first line of an error's message."""
    return str(error).partition("\n")[0]


def no_camera(where: str, camera: str, known: Iterable[str]) -> str:
    """The message about a ``camera`` that the data does not have. where: whose it is, for the message."""
    names = sorted(known)
    there = f"its cameras are {names}" if names else "it has none"
    rename = f"dataset={{path: …, cameras: {{{camera}: {names[0] if names else '<name>'}}}}}"
    return (
        f"{where} has no camera {camera!r}; {there}. Say which of them it is, {rename}; where other datasets beside it "
        f"have that camera, {{{camera}: null}} masks it here; or let the policy do without it."
    )


def no_actions(part: str) -> str:
    """The message about a ``part`` of a policy that learns actions, where the data have none."""
    return (
        f"{part}: the data have no actions to learn. Add a dataset that has some, or say which columns they are, "
        f"dataset={{path: …, action: […]}}. Or learn without them: a world model and no action head "
        f"(policy.action_head=null), with which another training begins (init_from=…)."
    )


def contained(error: BaseException, call: str) -> Exception:
    """The error to report where ``call``, in words, raised ``error``: a :class:`PartFailed` where it is no Exception.

    Raises a KeyboardInterrupt of the main thread, which is the user's.
    """
    if isinstance(error, Exception):
        return error
    if isinstance(error, KeyboardInterrupt) and threading.current_thread() is threading.main_thread():
        raise error
    failure = PartFailed(f"{call} failed with {describe(error)}")
    failure.__cause__ = error
    return failure


@contextmanager
def afterwards(call: Callable[[], object]) -> Iterator[None]:
    """Context manager that makes ``call`` at its end, also after an error.

    An error inside the context is raised with the error of ``call``, if any, as a note.
    """
    try:
        yield
    except BaseException as error:
        try:
            call()
        except Exception as failure:
            error.add_note(describe(failure))
        raise
    call()


class TransientError(ForehandError):
    """A failure that may pass by itself: the other side is overloaded, late, restarting or unreachable."""


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
    """A request came before the client's ``hello``, or after the client had expired."""


class UnknownSession(WireError, TransientError):
    """The session was never opened here, was closed, expired, or was lost in a restart."""


class DeadlineExceeded(WireError, TransientError):
    """The time budget of a request ran out before there was an answer."""


class Superseded(WireError):
    """A later request came before a command of the same robot began, so it was not carried out."""


class Busy(WireError, TransientError):
    """The other side is at its limit, or another client has the robot."""


class ServerStopping(WireError, TransientError):
    """The server is stopping and accepts no more requests."""

    def __init__(self, message: str = "The server is stopping. Connect again when it is back.") -> None:
        super().__init__(message)


class RemoteFailure(WireError):
    """The other side raised an expected error of its own; the message is that error's."""


class InternalError(WireError):
    """The other side raised an unexpected error, a bug there or in a part it runs; the message holds the exception."""


class RobotLost(ForehandError):
    """The process of a simulated robot died, failed or does not answer; connecting again starts another."""


class ConnectionLost(WireError, TransientError):
    """No answer from the address, or the connection broke. Never sent: the client detects it itself."""


class AccessDenied(WireError):
    """Keys are missing, not allowed by the other side, or do not match; never sent: it precedes any message."""


class AddressUnavailable(WireError):
    """An address cannot be bound or connected to: taken, forbidden, or not an address."""


class RobotStopped(WireError):
    """The robot was stopped, on request or after too long without commands, and needs a reset."""


def nearest(name: object, known: Iterable[str]) -> str:
    """A hint for an unknown name: the nearest ones of ``known``, or all of them."""
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=3, cutoff=0.4) if isinstance(name, str) else []
    if close:
        return f"Did you mean {' or '.join(map(repr, close))}?"
    return f"Known: {', '.join(names) or 'none'}."


def nearest_first(name: str, known: Iterable[str]) -> str:
    """A hint for an unknown name that lists all of ``known``, the most similar ones first."""
    similar = difflib.SequenceMatcher(b=name)

    def likeness(other: str) -> float:
        similar.set_seq1(other)
        return similar.ratio()

    return f"Known, the nearest first: {', '.join(sorted(known, key=likeness, reverse=True))}."
