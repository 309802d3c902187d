"""Ledger of a running import: what it is, and the outcome of every episode, beside the episodes that wait."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from forehand.data.features import read_mapping
from forehand.data.importing.job import differences_of
from forehand.data.recording.recorder import staged_episodes, staging_folder
from forehand.errors import DatasetError
from forehand.utils.files import replacing

_FOLDER, _JOB = "import", "job.json"


@dataclass(frozen=True)
class Outcome:
    """What became of the episode ``id`` at ``position`` of its shard.

    frames: how many were written. skipped: why → frames of the source that were left out. dropped: why it was left out.
    """

    position: int
    id: str
    frames: int = 0
    skipped: Mapping[str, int] = field(default_factory=dict)
    dropped: str | None = None


class Ledger:
    """The ledger of the import to ``root``."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._folder = staging_folder(root) / _FOLDER

    def begin(self, identity: Mapping[str, Any]) -> None:
        """Note what is imported; raises :class:`DatasetError` where other episodes wait at the same place.

        Call it within :func:`forehand.data.recording.commit.recording_lock`.
        """
        note = self._folder / _JOB
        if note.exists() and staged_episodes(self._root):
            refuse_other_import(self._root, read_mapping(note), identity)
        elif staged_episodes(self._root):
            raise DatasetError(f"Episodes of another recording wait at {self._root}. Import to another folder.")
        self._folder.mkdir(parents=True, exist_ok=True)
        with replacing(note, fsync=True) as file:
            file.write_text(json.dumps(identity))

    def write(self, outcome: Outcome) -> None:
        """Note the outcome of an episode; one that is kept is noted before it is saved."""
        with replacing(self._folder / f"{outcome.position:06d}.json", fsync=True) as file:
            file.write_text(json.dumps(asdict(outcome)))

    def outcomes(self) -> dict[int, Outcome]:
        """Those of finished episodes by position: saved ones, and dropped ones."""
        saved = staged_episodes(self._root)
        found = {}
        for file in sorted(self._folder.glob("[0-9]*.json")):
            outcome = Outcome(**read_mapping(file))
            if outcome.dropped is not None or outcome.position in saved:
                found[outcome.position] = outcome
        return found


def refuse_other_import(root: Path, there: Mapping[str, Any], here: Mapping[str, Any]) -> None:
    """Raise :class:`DatasetError` that lists the differences between two identities of imports, if there are any."""
    if lines := differences_of(there, here):
        listing = "\n".join(f"  - {line}" for line in lines)
        raise DatasetError(
            f"{root.absolute()} holds another import:\n{listing}\nGive the same options to continue it, or import to "
            f"another folder."
        )
