"""A dataset in rerun's viewer: images, states and actions of some episodes, end to end, and findings as events."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from forehand.data.checking.checker import Report
from forehand.data.checking.findings import ERROR, NOTE, WARNING, Finding
from forehand.data.checking.table import FrameTable
from forehand.data.source import Pictures
from forehand.errors import DatasetError
from forehand.robot import Observation
from forehand.running.control_step import Step
from forehand.running.rerun_viewer import RerunViewer, open_stream
from forehand.utils.progress import progress
from forehand_apps.pages.dataset import instruction_of

LEVELS = {ERROR: "ERROR", WARNING: "WARN", NOTE: "INFO"}

_AT_ONCE = 32


def show_in_rerun(where: bool | str, report: Report, positions: Sequence[int]) -> None:
    """Log the episodes at ``positions``; ``where``: that of :func:`forehand.running.rerun_viewer.open_stream`.

    Raises :class:`DatasetError` where nothing of the dataset can be read.
    """
    table, source = report.table, report.source
    if table is None or source is None:
        raise DatasetError(f"{report.name} cannot be shown: {report.findings[0].message}")
    contract = replace(table.contract, sensors=())
    stream = open_stream(where, contract, recorded=True)
    viewer = RerunViewer(stream, contract)
    try:
        cameras = {camera.name: source.pictures(camera.name) for camera in contract.cameras}
        with progress("logging episodes", len(positions), transient=True) as show:
            for done, position in enumerate(positions):
                show(done)
                viewer.on_episode_start(int(table.numbers[position]), instruction_of(table, position))
                for step in _steps(cameras, report, table, position):
                    viewer.on_step(step)
                for one in _about(report, int(table.numbers[position])):
                    viewer.say(f"{one.severity}: {one.message} ({one.where()})", LEVELS[one.severity])
                viewer.on_episode_end("the end of the episode", None)
            show(len(positions))
    finally:
        viewer.close()


def _steps(cameras: Mapping[str, Pictures], report: Report, table: FrameTable, position: int) -> Iterator[Step]:
    assert report.source is not None
    numbers = report.source.frame_numbers
    first, last = int(table.starts[position]), int(table.starts[position + 1])
    for start in range(first, last, _AT_ONCE):
        rows = np.arange(start, min(start + _AT_ONCE, last))
        images = {name: pictures.read(rows if numbers is None else numbers[rows]) for name, pictures in cameras.items()}
        for i, row in enumerate(rows.tolist()):
            seen = {name: pixels[i] for name, pixels in images.items()}
            observation = Observation(seen, table.states[row], (row - first) / table.rate)
            action = table.actions[row] if table.actions.shape[1] else None
            yield Step(row - first, observation, None, action)


def _about(report: Report, episode: int) -> list[Finding]:
    return [one for one in report.findings if any(place.episode == episode for place in one.places)]
