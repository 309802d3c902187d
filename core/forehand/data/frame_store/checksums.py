"""Checksums of cached files, so that damaged ones are made again and never trained on.

Beside each file lies ``<name>.sum``: its CRC-32, and its size and time when that was computed. A file of that size and
time is taken as it is; one that was changed, copied or cut since is read once and compared.
"""

from __future__ import annotations

import json
import zlib
from contextlib import suppress
from pathlib import Path
from typing import Any

from forehand.utils.files import replacing

SUFFIX = ".sum"

_AT_ONCE = 2**22  # bytes


def sum_file(path: Path) -> Path:
    """Where the checksum of ``path`` is."""
    return path.with_name(path.name + SUFFIX)


def write_checksum(path: Path, content: Path) -> None:
    """Note the checksum of ``path``, of which ``content`` is going to take the place."""
    _note(path, _facts(content) | {"crc32": _crc32(content)})


def is_whole(path: Path) -> bool:
    """Whether ``path`` is as it was written; True where no checksum is there, as for files of earlier versions.

    Raises FileNotFoundError.
    """
    facts, noted = _facts(path), _read(path)
    if noted is None:
        return True
    if all(noted.get(name) == value for name, value in facts.items()):
        return True
    if noted.get("size") != facts["size"] or noted.get("crc32") != _crc32(path):
        return False
    with suppress(OSError):  # a cache that cannot be written to is compared each time
        _note(path, facts | {"crc32": noted["crc32"]})
    return True


def _facts(path: Path) -> dict[str, int]:
    status = path.stat()
    return {"size": status.st_size, "time": status.st_mtime_ns}


def _read(path: Path) -> dict[str, Any] | None:
    try:
        noted = json.loads(sum_file(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except ValueError:
        return {}
    return noted if isinstance(noted, dict) else {}


def _note(path: Path, facts: dict[str, int]) -> None:
    with replacing(sum_file(path)) as staging:
        staging.write_text(json.dumps(facts) + "\n", encoding="utf-8")


def _crc32(path: Path) -> int:
    value = 0
    with path.open("rb") as file:
        while part := file.read(_AT_ONCE):
            value = zlib.crc32(part, value)
    return value
