"""Start of a rerun viewer, on loopback unless another address is given."""

from __future__ import annotations

import logging
import os
import re
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress

from forehand.errors import ConfigurationError
from forehand.utils.addresses import bare_host, is_loopback, with_port

log = logging.getLogger(__name__)

ADDRESS = "127.0.0.1:9876"
"""The default address of a viewer."""

PLACE = re.compile(r"(\[[^\[\]]+\]|[^\[\]:/]+):([0-9]+)")

COMMAND = (sys.executable, "-m", "rerun_cli", "--expect-data-soon")

PATIENCE = 20.0
"""Seconds that a viewer may take to listen."""


def open_viewer(address: str = ADDRESS) -> str:
    """Open a viewer that listens at ``address``, ``HOST:PORT``, unless one does already; returns its URL.

    Raises :class:`ConfigurationError` where the viewer ends before it listens.
    """
    found = PLACE.fullmatch(address)
    assert found, "the caller has looked"
    host, port = bare_host(found[1]), int(found[2])
    if not is_loopback(host):
        log.warning("the live view at %s is open to everyone who can reach it: without encryption and keys", address)
    here = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # an address to listen at is none to connect to
    if not _listens(here, port):
        process = subprocess.Popen(
            [*COMMAND, "--bind", host, "--port", str(port)],
            env=os.environ | {"RERUN_APP_ONLY": "true"},
            stdout=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C ends the run, and leaves what it showed
        )
        end = time.monotonic() + PATIENCE
        while not _listens(here, port):
            if process.poll() is not None or time.monotonic() > end:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)  # the command starts the viewer as a process of its own
                raise ConfigurationError(
                    f"rerun's viewer did not open at {address}. Without a screen, write a file instead (rerun=run.rrd), "
                    f"or send to a viewer elsewhere (rerun=rerun+http://HOST:9876/proxy)."
                )
            time.sleep(0.1)
    return f"rerun+http://{with_port(here, port)}/proxy"


def _listens(host: str, port: int) -> bool:
    try:
        socket.create_connection((host, port), timeout=1).close()
    except OSError:
        return False
    return True
