"""Names of repositories in the cache of the Hugging Face hub."""

from __future__ import annotations

import re
from pathlib import Path

_SNAPSHOT = r"{kind}--(.+?)--(.+)/snapshots/([0-9a-f]{{40}})"


def cached_repository(folder: Path, kind: str) -> tuple[str, str] | None:
    """``owner/name`` and commit of a snapshot in the hub's cache; None for any other folder. kind: models or datasets."""
    found = re.fullmatch(_SNAPSHOT.format(kind=kind), "/".join(folder.parts[-3:]))
    return (f"{found[1]}/{found[2]}", found[3]) if found else None
