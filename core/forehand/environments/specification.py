"""Environment specification: Python, requirements, system packages and a check of one simulator."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from forehand.errors import ConfigurationError

_PIN = re.compile(r"\s*([A-Za-z0-9][A-Za-z0-9._-]*)(?:\[[^]]*\])?\s*==\s*([^\s;#]+)")


@dataclass(frozen=True)
class EnvironmentSpec:
    """What a simulator needs in an environment of its own. A plugin registers a callable that returns one::

        registry.add("environment", "libero", "forehand_libero.environment:libero", "LIBERO's simulator")

    python: versions, as pip writes them (``">=3.12,<3.15"``); Forehand itself needs 3.12. requirements: of the simulator,
    as pip takes them; what a robot host of Forehand needs is added. lock: file of the plugin with exact versions of
    everything, ``name==version`` a line and without addresses, which ``forehand env lock`` writes; None: none yet.
    system: Debian's names of packages that no Python package brings. check: a Python program that raises unless the
    simulator works. versions: distributions whose versions belong to every result, the simulator first.
    """

    requirements: tuple[str, ...]
    check: str
    python: str = ">=3.12"
    lock: Path | None = None
    system: tuple[str, ...] = ()
    versions: tuple[str, ...] = ()


def read_lock(lock: Path | None) -> dict[str, str]:
    """Distribution, in its normal form, → locked version; {} without a lock.

    Raises :class:`ConfigurationError` for a line that is neither a comment nor ``name==version``.
    """
    found: dict[str, str] = {}
    for number, line in enumerate(lock.read_text(encoding="utf-8").splitlines() if lock else [], start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        if not (pin := _PIN.match(line)):
            raise ConfigurationError(f"{lock}, line {number}: {line.strip()!r} is not NAME==VERSION. Lock anew.")
        found[normal_name(pin[1])] = pin[2]
    return found


def normal_name(distribution: str) -> str:
    """The name of a distribution as indexes compare it."""
    return re.sub(r"[-_.]+", "-", distribution).lower()
