"""Merging of open-loop evaluations that shared their episodes, into what a single process would have written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from forehand.errors import ConfigurationError
from forehand.evaluation.open_loop.record import OPEN_LOOP, read_open_loop


def open_loop_runs(folders: Sequence[Path], output: Path) -> list[Path]:
    """The folders of open-loop evaluations among ``folders``, or right below them, without ``output``."""
    found = [
        path.parent
        for folder in folders
        for path in ([folder / OPEN_LOOP] if (folder / OPEN_LOOP).is_file() else sorted(folder.glob(f"*/{OPEN_LOOP}")))
    ]
    return [folder for folder in dict.fromkeys(found) if folder.absolute() != output.absolute()]


def merge_open_loop(folders: Sequence[Path], output: Path, *, partial: bool = False) -> dict[str, Any]:
    """Write what the evaluations in ``folders`` judged to ``output``; returns its ``open_loop.json``.

    partial: go on where episodes are missing. The runs stay as they are, and an earlier merge in ``output`` is continued.
    Raises :class:`ConfigurationError` naming what differs, or which episodes are missing.
    """
    parts = [read_open_loop(folder) for folder in folders]
    merged = replace(parts[0], folder=output, shard=None, started=min(part.started for part in parts))
    there = {position for part in parts for position in part.finished}
    if (missing := [position for position in merged.chosen if position not in there]) and not partial:
        raise ConfigurationError(
            f"{len(missing)} of {len(merged.chosen)} episodes were not judged: {missing[:20]}. Run the missing shards, "
            f"or add partial=true."
        )
    with merged.locked():
        merged = merged.continued()
        for part in parts:
            merged.take_over(part)
        return merged.write()
