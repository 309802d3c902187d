"""Where a checkpoint or a result comes from: versions, plugins, commit, command, machine."""

from __future__ import annotations

import functools
import os
import platform
import subprocess
import sys
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

FORMAT = 1
PACKAGES = ("forehand", "torch", "lerobot", "numpy", "mujoco", "pyzmq", "safetensors")


def provenance(**facts: Any) -> dict[str, Any]:
    """Where something comes from, as plain JSON values; ``facts`` are added."""
    return {
        "format": FORMAT,
        "command": sys.argv,
        "python": platform.python_version(),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "versions": {name: version for name in PACKAGES if (version := _version(name))},
        "commit": git_commit(),
        **facts,
    }


def initial_weights(made: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The ``checkpoint`` and ``fingerprint`` of each that a training began with; ``made`` is its provenance."""
    whole = [made["init"]] if made.get("init") else []
    return [*whole, *(made.get("init_parts") or {}).values()]


@functools.cache  # what runs is what was loaded, whatever becomes of the files meanwhile
def git_commit() -> str | None:
    """The commit of the source tree this package runs from, ``-dirty`` if changed, or None outside a checkout."""
    here = Path(__file__)
    try:
        # A package installed somewhere below another project's checkout is no part of that project.
        _git(here.parent, "ls-files", "--error-unmatch", here.name)
        return _git(here.parent, "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*")
    except (OSError, subprocess.CalledProcessError):
        return None


def _git(folder: Path, *arguments: str) -> str:
    return subprocess.check_output(["git", *arguments], cwd=folder, text=True, stderr=subprocess.DEVNULL).strip()


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
