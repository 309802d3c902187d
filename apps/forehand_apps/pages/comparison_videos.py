"""Videos of scenes that flip: two arms at the same scene, with policies of the same training seed."""

from __future__ import annotations

import functools
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from forehand.evaluation.results import RESULTS, EpisodeResult, EvaluationRecord, read_record

SCENES = 4
"""Scenes of a difference whose videos are shown."""

VIDEO_BYTES = 3_000_000
"""The largest video that goes into a page."""

REPLAY = "replay"
"""The folder in an evaluation's output in which videos that are made afterwards are looked for."""


@dataclass(frozen=True)
class Side:
    """One arm at a scene: the outcome of the episode that flips, and its video, if there is one."""

    arm: str
    success: bool
    video: Path | None


@dataclass(frozen=True)
class Flip:
    """A scene at which one arm alone succeeds, or gets further in a chain, with the policies of one training ``seed``.

    position: of the first episode of the scene's trial that came out otherwise, from 0; instruction: its sentence.
    """

    scene: int
    seed: int | str
    position: int
    instruction: str
    sides: tuple[Side, Side]

    @property
    def shown(self) -> bool:
        """Whether both videos can be shown."""
        return all(side.video is not None and side.video.stat().st_size <= VIDEO_BYTES for side in self.sides)


def flip_videos(found: Mapping[str, Any], contrast: Mapping[str, Any]) -> tuple[list[Flip], list[str]]:
    """At most :data:`SCENES` flips of a ``contrast`` whose videos are at hand, and the commands that make missing ones.

    found: the comparison (:func:`forehand.evaluation.comparison.compare.compare_arms`) that the contrast is of.
    """
    read = functools.cache(read_record)
    runs = {arm["name"]: [Path(run) for run in arm["runs"]] for arm in found["arms"]}
    shown, missing = list[Flip](), dict[Path, list[int]]()
    first_without = 0
    for one in contrast["flips"]:
        of_scene = list(_flips(found, contrast, runs, one["scene"], read))
        if (flip := next((flip for flip in of_scene if flip.shown), None)) is not None:
            shown.append(flip)
        elif first_without < SCENES:
            first_without += 1
            flip, place = of_scene[0], found["seeds"].index(of_scene[0].seed)
            for side in flip.sides:
                if side.video is None:
                    missing.setdefault(runs[side.arm][place], []).append(flip.scene)
        if len(shown) == SCENES:
            return shown, []
    return shown, [
        shlex.join(["forehand", "eval", f"replay={run}", f"trials={trials}".replace(" ", ""), f"output={run / REPLAY}"])
        for run, trials in missing.items()
    ]


def _flips(
    found: Mapping[str, Any],
    contrast: Mapping[str, Any],
    runs: Mapping[str, list[Path]],
    scene: int,
    read: Any,
) -> Iterator[Flip]:
    """The scene with each training seed that it flips with."""
    names = contrast["against"], contrast["arm"]
    for place, seed in enumerate(found["seeds"]):
        folders = [runs[name][place] for name in names]
        pairs = zip(*(_episodes(read(folder), scene) for folder in folders), strict=False)
        for episodes in pairs:
            if episodes[0].success != episodes[1].success:
                sides = [
                    Side(name, bool(episode.success), _video(folder, episode, read))
                    for name, folder, episode in zip(names, folders, episodes, strict=True)
                ]
                yield Flip(scene, seed, episodes[0].position, episodes[0].instruction, (sides[0], sides[1]))
                break


def _episodes(record: EvaluationRecord, scene: int) -> list[EpisodeResult]:
    return [episode for episode in record.episodes if episode.index == scene]


def _video(folder: Path, wanted: EpisodeResult, read: Any) -> Path | None:
    """The video of an episode, made with its evaluation or afterwards; None where its outcome was another then."""
    for place in (folder, folder / REPLAY):
        if not (place / RESULTS).is_file():
            continue
        for episode in _episodes(read(place), wanted.index):
            same = (episode.position, episode.success) == (wanted.position, wanted.success)
            if same and episode.video and (place / episode.video).is_file():
                return place / episode.video
    return None
