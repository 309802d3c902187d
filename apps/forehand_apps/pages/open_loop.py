"""Open-loop page: errors of predicted actions, and curves of both beside the video, in one HTML file."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from forehand.data.checking.table import ACTION, elements_of, frame_table
from forehand.errors import DatasetError
from forehand.evaluation.open_loop.judge import JudgedEpisode
from forehand.evaluation.open_loop.record import OpenLoopRecord, PlannedEpisode
from forehand.evaluation.open_loop.recorded import RecordedEpisodes
from forehand_apps.pages.dataset import MOST_ROWS, Plot
from forehand_apps.pages.episode_video import write_episode_video
from forehand_apps.pages.plots import curves
from forehand_apps.pages.render import embed, render

SEEN = {"trained_on": "trained on", "held_out": "not trained on", "not_known": "not known"}


@dataclass(frozen=True)
class JudgedPlayer:
    """An episode with its video, as a data URL, and its plots. number: a name that is unique on the page."""

    number: str
    instruction: str
    frames: int
    about: str
    video: str | None
    problem: str
    plots: Sequence[Plot]
    data: Mapping[str, Any] = field(default_factory=dict)


def open_loop_page(
    record: OpenLoopRecord, found: Mapping[str, Any], episodes: RecordedEpisodes, shown: Sequence[int], image_height: int
) -> str:
    """The page of ``found``, what ``record`` wrote, with the judged episodes at the positions ``shown``."""
    several = len(episodes.data.sources) > 1
    planned = {one.position: one for one in record.plan}
    with tempfile.TemporaryDirectory() as folder:
        players = [_player(record.judged(p), planned[p], episodes, image_height, Path(folder), several) for p in shown]
    judged = [one for one in found["episodes"] if "fields" in one]
    return render(
        "open_loop.html",
        policy=record.about.get("policy", "policy"),
        dataset=", ".join(one["name"] for one in record.setup["dataset"]),
        warning=found["warning"],
        notes=found.get("notes", []),
        complete=found["complete"],
        judged=len(judged),
        planned=len(record.plan),
        fields=found["fields"],
        success=found.get("success"),
        steps=list(enumerate(found["by_step"])),
        seen=[(SEEN[name], rows) for name, rows in found["by_seen"].items()],
        tasks=[(task or "(no instruction)", rows) for task, rows in found["by_task"].items()],
        shown=players,
        listed=[
            {
                "name": episode_name(planned[one["position"]], several),
                "task": one["task"],
                "frames": one["frames"],
                "about": _about(planned[one["position"]]),
                "fields": one.get("fields", []),
            }
            for one in found["episodes"][:MOST_ROWS]
        ],
    )


def episode_name(one: PlannedEpisode, several: bool) -> str:
    """What an episode is called: its number, behind that of its source where there are several."""
    return f"{one.source}.{one.number}" if several else str(one.number)


def _about(one: PlannedEpisode) -> str:
    if one.left_out:
        return f"left out: {one.left_out}"
    return {True: "trained on it", False: "not trained on it", None: "perhaps trained on it: not known"}[one.seen]


def _player(
    judged: JudgedEpisode,
    one: PlannedEpisode,
    episodes: RecordedEpisodes,
    height: int,
    folder: Path,
    several: bool,
) -> JudgedPlayer:
    source = episodes.data.sources[one.source]
    table = frame_table(source.episodes, source.contract, elements_of(source.contract))
    row = int(episodes.starts[judged.position] - episodes.data.first_frames[one.source])
    video, problem, path = None, "", folder / f"{judged.position}.mp4"
    if source.contract.cameras:
        try:
            write_episode_video(path, source, table, int(np.searchsorted(table.starts, row)), height)
            video = embed(path)
        except DatasetError as error:
            problem = str(error)
        path.unlink(missing_ok=True)
    else:
        problem = "No images can be shown."
    plots = _plots(judged, one, episodes)
    data = {
        "frames": one.frames,
        "rate": table.rate,
        "plots": [{"stride": plot.curves.stride, "values": plot.curves.values} for plot in plots],
    }
    name = episode_name(one, several)
    return JudgedPlayer(name, one.task, one.frames, _about(one), video, problem, plots, data)


def _plots(judged: JudgedEpisode, one: PlannedEpisode, episodes: RecordedEpisodes) -> list[Plot]:
    """Of each number of the action: recorded, and predicted for that frame, held until the policy was asked again."""
    table, rows = episodes.data.episodes, episodes.rows(judged.position)
    done = np.where(table.has_action[rows, None], table.actions[rows], np.nan)
    asked = np.searchsorted(judged.frames, np.arange(one.frames), side="right") - 1
    found = []
    for element in elements_of(episodes.data.contract):
        if element.vector != ACTION:
            continue
        both = np.stack([done[:, element.index], judged.predicted[asked, element.index]], 1).astype(np.float32)
        low, high = (float(limit) for limit in (np.nanmin(both), np.nanmax(both)))
        name = element.name.partition(".")[2]
        about = element.field.rotation or ""
        found.append(Plot(name, element.unit, about, ["recorded", "predicted"], curves(both, low, high), []))
    return found
