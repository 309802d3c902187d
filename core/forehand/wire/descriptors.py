"""File descriptor limits: how many connections a listening socket may hold."""

from __future__ import annotations

import errno
import logging
import os

log = logging.getLogger(__name__)

SHORTAGE = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
"""Errors of ``accept`` that pass when connections end."""

SHARES = 4
"""Each listening socket takes one of so many equal parts of what is free, so that several leave room for files."""


def room_for(connections: int, what: str, each: int = 1) -> int:
    """``connections`` of ``each`` descriptors, or as many as the limit of open files leaves room for, at least 1.

    Logged where it is fewer.
    """
    try:
        import resource

        limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        used = len(os.listdir("/dev/fd"))
    except (ImportError, OSError):  # another system, or a sandbox
        return connections
    if limit == resource.RLIM_INFINITY:
        return connections
    room = max(1, (limit - used) // SHARES // each)
    if room < connections:
        log.warning(
            "%s takes %d connections instead of %d: this process may open %d files (ulimit -n)",
            what,
            room,
            connections,
            limit,
        )
    return min(connections, room)
