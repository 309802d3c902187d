"""Journal: results of trials that finished since the results file was written whole, a line for each trial."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from forehand.utils.reading import Unreadable, parse_json

JOURNAL = "unmerged.jsonl"


@dataclass(frozen=True)
class JournalEntry:
    """One finished trial: the time, and its episodes as ``results.json`` holds them."""

    written: str
    episodes: Sequence[Mapping[str, Any]]


class Journal:
    """The file ``unmerged.jsonl`` in an evaluation's ``folder``, to which each finished trial is appended."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / JOURNAL

    def append(self, entry: JournalEntry) -> None:
        """Add a trial; it outlives this process, however that ends."""
        line = json.dumps({"written": entry.written, "episodes": entry.episodes}, ensure_ascii=False)
        with self._path.open("a", encoding="utf-8") as file:
            file.write(line + "\n")

    def read(self) -> list[JournalEntry]:
        """The trials; one whose line was cut off is left out. Raises :class:`Unreadable` for lines that are none."""
        try:
            *lines, _ = self._path.read_bytes().split(b"\n")
        except FileNotFoundError:
            return []
        try:
            return [JournalEntry(**parse_json(line.decode())) for line in lines]
        except (ValueError, TypeError) as error:
            raise Unreadable(f"{JOURNAL} beside it: {error}") from error

    def remove(self) -> None:
        """Begin anew: the results file holds everything."""
        self._path.unlink(missing_ok=True)
