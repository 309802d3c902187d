"""Calls of uv, which makes environments and installs packages with exact versions."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from forehand.environments.specification import normal_name
from forehand.errors import ForehandError


class EnvironmentFailed(ForehandError):
    """An environment could not be made, or its check failed."""


def find_uv() -> str:
    """The path of uv: beside this Python, or on the search path; :class:`EnvironmentFailed` where there is none."""
    folder = Path(sys.executable).parent
    found = shutil.which("uv", path=str(folder)) or shutil.which("uv")
    if found is None:
        raise EnvironmentFailed("Environments are made by uv, which is not there. Install it: pip install uv")
    return found


def call_uv(what: str, *arguments: str | Path, stdin: str | None = None, capture: bool = False) -> str:
    """Run uv with ``arguments``; its messages go to standard error. Returns its output, where that is captured.

    what: what it does, for the message of the :class:`EnvironmentFailed` that is raised where it fails.
    """
    base = Path(getattr(sys, "_base_executable", sys.executable)).resolve().parent  # behind the shims of pyenv
    search = os.pathsep.join([str(base), os.environ.get("PATH", "")])
    done = subprocess.run(
        [find_uv(), *map(str, arguments)],
        input=stdin,
        text=True,
        stdout=subprocess.PIPE if capture else 2,  # standard error, where its other words go
        env=os.environ | {"PATH": search},
    )
    if done.returncode:
        raise EnvironmentFailed(
            f"{what} failed: uv ended with status {done.returncode}, its reason is above. Where a package could not be "
            f"fetched, see to the network or to uv's index (UV_DEFAULT_INDEX); what was fetched is kept."
        )
    return done.stdout or ""


def installed_packages(python: Path) -> dict[str, str]:
    """Distribution in its normal form → version, of all that is installed for the interpreter ``python``."""
    listed = call_uv("Listing packages", "pip", "list", "--python", python, "--format", "json", "--quiet", capture=True)
    return {normal_name(package["name"]): package["version"] for package in json.loads(listed)}


def compile_lock(requirements: Sequence[str], python: str) -> str:
    """Exact versions of ``requirements`` and of what they need, ``name==version`` a line, on all systems."""
    options = ("--universal", "--python-version", python, "--no-annotate", "--no-header", "--quiet")
    return call_uv("Locking", "pip", "compile", *options, "-", stdin="\n".join(requirements), capture=True)
