"""Imports in this process, and what came of them."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray

from forehand import Contract
from forehand.data.features import read_contract
from forehand.data.importing.job import ImportJob
from forehand.data.importing.run import opened_import, read_import_record
from forehand.data.lerobot.source import LeRobotSource

Imported = Callable[..., "Result"]


@dataclass
class Result:
    """An imported dataset, read back."""

    root: Path

    @cached_property
    def contract(self) -> Contract:
        return read_contract(self.root)

    @cached_property
    def source(self) -> LeRobotSource:
        return LeRobotSource(self.root)

    @cached_property
    def record(self) -> dict[str, Any]:
        return read_import_record(self.root) or {}

    @cached_property
    def rows(self) -> list[dict[str, Any]]:
        """The table of episodes."""
        return [
            row for f in sorted((self.root / "meta/episodes").rglob("*.parquet")) for row in pq.read_table(f).to_pylist()
        ]

    @property
    def states(self) -> NDArray[np.float32]:
        return self.source.episodes.states

    @property
    def actions(self) -> NDArray[np.float32]:
        return self.source.episodes.actions

    def pictures(self, camera: str) -> list[NDArray[np.uint8]]:
        found = {
            int(n): p
            for numbers, block in self.source.pictures(camera).blocks()
            for n, p in zip(numbers, block, strict=True)
        }
        return [found[i] for i in sorted(found)]

    def sentences(self) -> list[str]:
        return [row["tasks"][0] for row in self.rows]


@pytest.fixture
def imported(tmp_path: Path) -> Imported:
    """Imports with an importer and its options; ``name`` of the output, and options of the job as ``job``."""

    def run(importer: str, name: str = "out", job: dict[str, Any] | None = None, **options: Any) -> Result:
        wanted = ImportJob(tmp_path / name, importer, options, **(job or {}))
        with opened_import(wanted) as running:
            list(running.convert(workers=1))
            running.commit({})
        return Result(wanted.root)

    return run
