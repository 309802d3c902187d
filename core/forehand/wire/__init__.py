"""Inter-process communication: policy server, robot host and their clients, one versioned protocol on ZeroMQ.

``docs/reference/protocol.md`` specifies every byte. Nothing here needs torch, and nothing is ever pickled.
"""

from forehand.errors import (
    AccessDenied,
    AddressUnavailable,
    Busy,
    ConnectionLost,
    DeadlineExceeded,
    HelloRequired,
    InternalError,
    ProtocolError,
    RemoteFailure,
    ServerStopping,
    Superseded,
    UnknownSession,
    VersionMismatch,
    WireError,
)
from forehand.wire.keys import Keyring
from forehand.wire.policy_client import PolicyClient, RemotePolicy, RemoteSession, Timing
from forehand.wire.policy_server import PolicyServer
from forehand.wire.robot_host import RobotHost

__all__ = [
    "AccessDenied",
    "AddressUnavailable",
    "Busy",
    "ConnectionLost",
    "DeadlineExceeded",
    "HelloRequired",
    "InternalError",
    "Keyring",
    "PolicyClient",
    "PolicyServer",
    "ProtocolError",
    "RemoteFailure",
    "RemotePolicy",
    "RemoteSession",
    "RobotHost",
    "ServerStopping",
    "Superseded",
    "Timing",
    "UnknownSession",
    "VersionMismatch",
    "WireError",
]
