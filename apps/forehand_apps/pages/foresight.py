"""Foresight page: what was foreseen beside what came, with errors and attention over time, in one HTML file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from forehand.contracts.contract import Contract
from forehand.evaluation.foresight_observer import ForeseenStep, ForesightObserver, Pictures
from forehand.evaluation.results import EvaluationRecord
from forehand.utils.files import replacing
from forehand.utils.heat import heat_picture
from forehand.utils.video import Encoding, VideoWriter
from forehand_apps.pages.dataset import Plot
from forehand_apps.pages.plots import curves
from forehand_apps.pages.render import embed, render

PARTS = "foresight"
"""The folder of an evaluation with what the page is made of."""

ENCODING = Encoding(crf=22, gop=12, preset="veryfast")
EMPTY = 40
"""Brightness, of 255, of a picture that is not there, as before the first forecast has come due."""

BRIGHTEST = 0.995
"""Quantile of an episode's errors that is drawn brightest."""

NOW, FORESEEN, ERROR = "what came", "what was foreseen for it", "error"
EXPECTED, OTHERWISE, APART = "what it expects next", "under another instruction", "their difference"


@dataclass(frozen=True)
class Film:
    """A video as a data URL: ``rows`` of pictures from top to bottom, and what its ``columns`` (cameras) are."""

    video: str
    rows: Sequence[str]
    columns: Sequence[str]


@dataclass(frozen=True)
class ForesightEpisode:
    """One episode on the page. ratio: its mean error over that of "nothing changes", None without forecasts."""

    number: int
    task: str
    instruction: str
    given: str
    otherwise: str | None
    success: bool | None
    then: bool | None
    steps: int
    frames: int
    horizon: int
    ratio: float | None
    films: Sequence[Film]
    plots: Sequence[Plot]
    data: Mapping[str, Any] = field(default_factory=dict)


def write_films(stem: Path, observed: ForesightObserver, contract: Contract, height: int) -> dict[str, Any]:
    """Write the videos of an episode beside ``stem``; returns what the page needs of it, as plain JSON values."""
    steps, shapes = observed.steps, {c.name: (c.height, c.width) for c in contract.cameras}
    cells = {name: (height, max(2, round(height * w / h / 2) * 2)) for name, (h, w) in shapes.items()}
    heats = [error.heat for s in steps for error in s.came.values()] + [heat for s in steps for heat in s.apart.values()]
    brightest = max((float(np.quantile(heat, BRIGHTEST)) for heat in heats), default=1.0)
    films = []
    if cells:
        rows = [NOW, FORESEEN, ERROR] if observed.horizon else [NOW]
        films.append((rows, lambda s: _came_rows(s, brightest)))
    if any(s.expected for s in steps):
        rows = [EXPECTED, OTHERWISE, APART] if any(s.otherwise for s in steps) else [EXPECTED]
        films.append((rows, lambda s: _expected_rows(s, brightest)))
    written = []
    for number, (rows, pictures) in enumerate(films):
        path = stem.with_name(f"{stem.name}-{number}.mp4")
        with replacing(path) as staging, staging.open("wb") as file:
            size = len(rows) * height, sum(width for _, width in cells.values())
            rate = Fraction(contract.rate).limit_denominator(1000)
            writer = VideoWriter(file, rate, size[0] - size[0] % 2, size[1], ENCODING)
            for step in steps:
                frame = np.concatenate([_row(row, cells) for row in pictures(step)[: len(rows)]])
                writer.write(frame[: size[0] - size[0] % 2])
            writer.close()
        written.append({"file": path.name, "rows": rows, "columns": list(cells)})
    cameras = list(dict.fromkeys(camera for s in steps for camera in s.came))
    groups = list(dict.fromkeys(name for s in steps for name in s.attention))
    return {
        "films": written,
        "rate": contract.rate,
        "frames": len(steps),
        "horizon": observed.horizon,
        "error": {c: [s.came[c].error if c in s.came else None for s in steps] for c in cameras},
        "unchanged": {c: [s.came[c].unchanged if c in s.came else None for s in steps] for c in cameras},
        "apart": {c: [float(s.apart[c].mean()) if c in s.apart else None for s in steps] for c in cameras},
        "attention": {name: [s.attention.get(name, 0.0) if s.attention else None for s in steps] for name in groups},
    }


def _came_rows(step: ForeseenStep, brightest: float) -> list[Pictures]:
    heat = {camera: heat_picture(error.heat, brightest) for camera, error in step.came.items()}
    return [step.now, {camera: error.foreseen for camera, error in step.came.items()}, heat]


def _expected_rows(step: ForeseenStep, brightest: float) -> list[Pictures]:
    return [step.expected, step.otherwise, {camera: heat_picture(heat, brightest) for camera, heat in step.apart.items()}]


def _row(pictures: Pictures, cells: Mapping[str, tuple[int, int]]) -> NDArray[np.uint8]:
    from PIL import Image

    shown = []
    for camera, (height, width) in cells.items():
        if camera in pictures:
            picture = Image.fromarray(np.ascontiguousarray(pictures[camera]))
            shown.append(np.asarray(picture.resize((width, height), Image.Resampling.BICUBIC)))
        else:
            shown.append(np.full((height, width, 3), EMPTY, np.uint8))
    return np.concatenate(shown, axis=1)


def view_page(evaluation: Path, record: EvaluationRecord, parts: Path, shown: Sequence[Mapping[str, Any]]) -> str:
    """The page of the trials ``shown`` (:func:`write_films` and their facts), whose videos are in ``parts``."""
    episodes = foresight_episodes(parts, shown)
    facts = record.setup.get("policy_facts", {})
    total = record.evaluation.total
    return render(
        "foresight.html",
        name=evaluation.absolute().name,
        policy=facts.get("checkpoint") or (record.setup.get("policy") or {}).get("name") or "policy",
        intervention=record.setup.get("foresight"),
        rate=f"{total.successes} of {total.n}",
        episodes=episodes,
    )


def foresight_episodes(parts: Path, shown: Sequence[Mapping[str, Any]]) -> list[ForesightEpisode]:
    """The episodes for ``foresight_player.html``, failures first."""
    return [_episode(parts, of) for of in sorted(shown, key=lambda of: bool(of["success"]))]


def _episode(parts: Path, of: Mapping[str, Any]) -> ForesightEpisode:
    plots = [
        _plot(f"error, {c}", "", "", ["forecast", "nothing changes"], [of["error"][c], of["unchanged"][c]])
        for c in of["error"]
    ]
    if any(value is not None for values in of["apart"].values() for value in values):
        plots.append(
            _plot(
                "another instruction", "", "difference of the two forecasts", list(of["apart"]), [*of["apart"].values()]
            )
        )
    if of["attention"]:
        shares = [*of["attention"].values()]
        plots.append(_plot("attention of the actions", "", "shares, by what is read", list(of["attention"]), shares))
    error, still = (_mean(of[key]) for key in ("error", "unchanged"))
    data = {
        "frames": of["frames"],
        "rate": of["rate"],
        "plots": [{"stride": plot.curves.stride, "values": plot.curves.values} for plot in plots],
    }
    films = [Film(embed(parts / film["file"]), film["rows"], film["columns"]) for film in of["films"]]
    return ForesightEpisode(
        of["trial"],
        of["task"],
        of["instruction"],
        of["given"],
        of["otherwise"],
        of["success"],
        of["then"],
        of["steps"],
        of["frames"],
        of["horizon"],
        error / still if error is not None and still else None,
        films,
        plots,
        data,
    )


def _mean(by_camera: Mapping[str, Sequence[float | None]]) -> float | None:
    values = [value for of in by_camera.values() for value in of if value is not None]
    return float(np.mean(values)) if values else None


def _plot(title: str, unit: str, about: str, elements: Sequence[str], values: Sequence[Sequence[float | None]]) -> Plot:
    """Curves of several quantities that share an axis from 0."""
    both = np.array([[np.nan if v is None else v for v in of] for of in values], np.float32).T
    high = float(np.nanmax(both)) if np.isfinite(both).any() else 1.0
    return Plot(title, unit, about, elements, curves(both, 0.0, high or 1.0), [])
