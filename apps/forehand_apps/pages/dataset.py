"""Dataset page: episodes as videos with curves, findings, statistics and the contract, in one HTML file."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from forehand.contracts.contract import Contract, Field
from forehand.data.checking.checker import Report
from forehand.data.checking.findings import Finding, Place
from forehand.data.checking.table import ACTION, STATE, Element, FrameTable
from forehand.errors import DatasetError
from forehand.utils.progress import progress
from forehand_apps.commands.data_check import STATISTICS, summary
from forehand_apps.pages.episode_video import depth_sensors, write_episode_video
from forehand_apps.pages.plots import Curves, curves, histogram
from forehand_apps.pages.render import embed, render

MOST_ROWS = 2000
"""Episodes that the page lists."""

MOST_INSTRUCTIONS = 200


@dataclass(frozen=True)
class Plot:
    """Curves of one field: its name, unit and meaning, the names of its elements, and places that findings mark.

    marks: left and width, in shares of the episode.
    """

    title: str
    unit: str
    about: str
    elements: Sequence[str]
    curves: Curves
    marks: Sequence[tuple[float, float]]


@dataclass(frozen=True)
class ShownEpisode:
    """An episode with its video, as a data URL, its plots, and the findings about it.

    problem: why there is no video.
    """

    number: int
    instruction: str
    frames: int
    seconds: float
    video: str | None
    problem: str
    plots: Sequence[Plot]
    findings: Sequence[tuple[Finding, Sequence[Place]]]
    data: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class ListedEpisode:
    """A row of the list of episodes."""

    number: int
    instruction: str
    frames: int
    seconds: float
    findings: int


def dataset_page(report: Report, positions: Sequence[int], image_height: int) -> str:
    """The page of a dataset, with the episodes at ``positions``."""
    table = report.table
    shown = [] if table is None else _shown(report, table, positions, image_height)
    return render(
        "dataset.html",
        name=Path(report.name).name or report.name,
        path=report.name,
        summary="" if table is None else summary(report),
        findings=report.findings,
        counts=report.counts,
        shown=shown,
        shown_numbers={episode.number for episode in shown},
        listed=[] if table is None else _listed(report, table),
        episode_count=0 if table is None else len(table.numbers),
        instructions=[] if table is None else _instruction_counts(table),
        statistics=[] if table is None else _statistics(report, table),
        statistic_names=STATISTICS,
        fields=[] if table is None else list(_fields(table.contract)),
        contract=None if table is None else table.contract,
    )


def instruction_of(table: FrameTable, position: int) -> str:
    """The instruction of an episode, or an empty text."""
    return table.tasks[table.instructions[table.starts[position]]] if table.tasks else ""


def _shown(report: Report, table: FrameTable, positions: Sequence[int], height: int) -> list[ShownEpisode]:
    shown: list[ShownEpisode] = []
    with progress("drawing episodes", len(positions), transient=True) as show, tempfile.TemporaryDirectory() as folder:
        for position in positions:
            show(len(shown), f"episode {table.numbers[position]}")
            shown.append(_episode(report, table, position, height, Path(folder)))
        show(len(shown))
    return shown


def _episode(report: Report, table: FrameTable, position: int, height: int, folder: Path) -> ShownEpisode:
    number, frames = int(table.numbers[position]), int(table.lengths[position])
    video, problem, path = None, "", folder / f"{position}.mp4"
    if report.source is None or not (table.contract.cameras or depth_sensors(table.contract)):
        problem = "No images can be shown."
    else:
        try:
            write_episode_video(path, report.source, table, position, height)
            video = embed(path)
        except DatasetError as error:
            problem = str(error)
        path.unlink(missing_ok=True)
    about = [(one, [p for p in one.places if p.episode == number]) for one in report.findings]
    about = [(one, places) for one, places in about if places]
    plots = _plots(report, table, position, about)
    return ShownEpisode(
        number,
        instruction_of(table, position),
        frames,
        frames / table.rate,
        video,
        problem,
        plots,
        about,
        {
            "frames": frames,
            "rate": table.rate,
            "plots": [{"stride": plot.curves.stride, "values": plot.curves.values} for plot in plots],
        },
    )


def _plots(
    report: Report, table: FrameTable, position: int, about: Sequence[tuple[Finding, Sequence[Place]]]
) -> list[Plot]:
    rows = slice(int(table.starts[position]), int(table.starts[position + 1]))
    frames, found = int(table.lengths[position]), []
    for vector in (STATE, ACTION):
        values = (table.states if vector == STATE else table.actions)[rows]
        for elements in _by_field(table.of(vector)):
            known = [report.statistics[element] for element in elements if element in report.statistics]
            low, high = (min((s["min"] for s in known), default=0.0), max((s["max"] for s in known), default=1.0))
            names = {element.name for element in elements}
            places = [place for one, places in about if one.column in names for place in places]
            first = elements[0]
            found.append(
                Plot(
                    f"{vector} {first.field.name}" if first.field.name != vector else vector,
                    first.unit,
                    ", ".join(
                        filter(None, (first.field.frame, first.field.rotation, first.field.mode, _sense(first.field)))
                    ),
                    [element.name.partition(".")[2] for element in elements],
                    curves(values[:, first.index : first.index + len(elements)], low, high),
                    [_mark(place, frames) for place in places if place.frame is not None],
                )
            )
    return found


def _by_field(elements: Sequence[Element]) -> list[list[Element]]:
    found: list[list[Element]] = []
    for element in elements:
        if element.element == 0:
            found.append([])
        found[-1].append(element)
    return found


def _mark(place: Place, frames: int) -> tuple[float, float]:
    first = place.frame or 0
    last = first if place.last is None else place.last
    whole = max(frames - 1, 1)
    return first / whole, max((last - first) / whole, 0.004)


def _sense(field: Field) -> str:
    return f"larger is {field.gripper}" if field.gripper else ""


def _listed(report: Report, table: FrameTable) -> list[ListedEpisode]:
    odd = Counter(number for one in report.findings for number in {place.episode for place in one.places})
    return [
        ListedEpisode(int(number), instruction_of(table, i), int(frames), float(frames / table.rate), odd[int(number)])
        for i, (number, frames) in enumerate(zip(table.numbers[:MOST_ROWS], table.lengths, strict=False))
    ]


def _instruction_counts(table: FrameTable) -> list[tuple[str, int]]:
    if not table.tasks:
        return []
    counts = Counter(table.instructions[table.starts[:-1]].tolist())
    return [(table.tasks[task], count) for task, count in counts.most_common(MOST_INSTRUCTIONS)]


def _statistics(
    report: Report, table: FrameTable
) -> list[tuple[Element, Sequence[str], Sequence[tuple[float, float, float]]]]:
    return [
        (element, [f"{values[name] + 0.0:.4g}" for name in STATISTICS], histogram(table.values(element)))
        for element, values in report.statistics.items()
    ]


def _fields(contract: Contract) -> Sequence[tuple[str, Field, str]]:
    return [
        (vector, one, _range(one))
        for vector, fields in ((STATE, contract.state), (ACTION, contract.action))
        for one in fields
    ]


def _range(field: Field) -> str:
    if field.low is None and field.high is None:
        return ""
    low, high = (("−∞",) if b is None else tuple(dict.fromkeys(f"{x:g}" for x in b)) for b in (field.low, field.high))
    return f"{', '.join(low)} to {'∞' if field.high is None else ', '.join(high)}"


def choose_episodes(report: Report, wanted: int | Sequence[int], seed: int) -> list[int]:
    """Positions of the episodes to be shown: those numbered ``wanted``, or so many, odd ones first.

    Of a number of episodes, up to half are those that findings name; the others are drawn by ``seed``. Raises
    :class:`DatasetError` for a number that no episode has.
    """
    table = report.table
    if table is None:
        return []
    numbers = table.numbers.tolist()
    places = {number: position for position, number in enumerate(numbers)}
    if not isinstance(wanted, int):
        if unknown := [number for number in wanted if number not in places]:
            raise DatasetError(f"{report.name} has no episode {unknown[0]}; it has {len(numbers)}, up to {max(numbers)}.")
        return [places[number] for number in wanted]
    odd = [places[one.places[0].episode] for one in report.findings if one.places and one.places[0].episode in places]
    drawn = np.random.default_rng(seed).permutation(len(numbers)).tolist()
    chosen = list(dict.fromkeys([*list(dict.fromkeys(odd))[: (wanted + 1) // 2], *drawn]))
    return sorted(chosen[:wanted])
