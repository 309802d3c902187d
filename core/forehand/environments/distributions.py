"""Installed distributions: what they require, and copies of them in other environments."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path

from forehand.environments.uv import EnvironmentFailed

EXTRA = "recording"
"""The extra of Forehand that an environment gets, so that experts are recorded there."""


def requirements_of(distribution: str, extra: str | None = None) -> list[str]:
    """What the installed ``distribution`` requires, without Forehand itself, and with what one of its extras adds."""
    found = []
    for line in metadata.requires(distribution) or []:
        requirement, _, marker = (part.strip() for part in line.partition(";"))
        asked = re.search(r"extra\s*==\s*['\"]([^'\"]+)", marker)
        if re.match(r"forehand\b(?![-_.])", requirement) or (asked and asked[1] != extra):
            continue
        found.append(requirement if asked else line)
    return found


def source_trees(distributions: Iterable[str]) -> dict[str, str]:
    """Where the source is, as a URL, of those that are installed in editable mode (PEP 610)."""
    found = {}
    for name in distributions:
        origin = json.loads(metadata.distribution(name).read_text("direct_url.json") or "{}")
        if origin.get("dir_info", {}).get("editable"):
            found[name] = origin["url"]
    return found


def copy_distribution(distribution: str, site: Path) -> None:
    """Put the files of an installed pure-Python ``distribution`` into ``site``, the packages of another environment.

    Of one that is installed in editable mode that is the reference to its source tree. Nothing is built or fetched.
    """
    files = metadata.distribution(distribution).files
    if not files:
        raise EnvironmentFailed(f"{distribution} cannot be copied: its installation lists no files. Install it with pip.")
    for file in files:
        if ".." in file.parts or "__pycache__" in file.parts:
            continue  # commands, which name this environment's Python
        target = site.joinpath(*file.parts)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(Path(str(file.locate())), target)
