"""Checkpoint readers: policies from the checkpoint folders of other projects, loaded where they lie."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from forehand.plugins import registry
from forehand.policy import Policy


class CheckpointReader(Protocol):
    """What a part of the kind ``checkpoint_reader`` offers; made without options."""

    def recognizes(self, folder: Path) -> bool:
        """Whether ``folder`` is a checkpoint of that project; looks at the names of files only, or little more."""

    def load(self, folder: Path, device: str, *, rate: float | None = None) -> Policy:
        """The policy of ``folder``, ready to run; rate: its control rate in Hz, where the folder states none.

        Raises :class:`~forehand.errors.CheckpointError`.
        """


def reader_of(folder: Path) -> CheckpointReader | None:
    """The reader of another project's checkpoint ``folder``; None where no plugin recognizes it."""
    for part in registry().parts("checkpoint_reader"):
        reader: CheckpointReader = registry().create("checkpoint_reader", part.name)
        if reader.recognizes(folder):
            return reader
    return None
