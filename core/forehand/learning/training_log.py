"""Log of a training: a file of JSON lines, cut back to the checkpoint from which a run continues."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, TextIO

from forehand.learning.callbacks.callback import TrainingCallback, TrainingRun

LOG = "training.jsonl"


class JsonLinesLog(TrainingCallback):
    """The file :data:`LOG` in the run's folder, a line an entry, each written out at once."""

    def __init__(self) -> None:
        self._file: TextIO | None = None

    def on_start(self, run: TrainingRun) -> None:
        """Cut what a run that got further, and was killed there, wrote after its last checkpoint."""
        if run.is_main:
            truncate_log(run.folder / LOG, run.step)
            self._file = (run.folder / LOG).open("a", encoding="utf-8")

    def on_log(self, run: TrainingRun, entry: dict[str, Any]) -> None:
        """Append the entry."""
        if self._file is not None:
            self._file.write(json.dumps(entry) + "\n")
            self._file.flush()

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
            self._file = None


def truncate_log(path: Path, step: int) -> None:
    """Cut the entries behind ``step`` from the log at ``path``, and a line that was never finished."""
    if not path.exists():
        return
    kept = 0
    for line in path.read_bytes().splitlines(keepends=True):
        try:
            if json.loads(line)["step"] > step:
                break
        except ValueError:
            break
        kept += len(line)
    os.truncate(path, kept)
