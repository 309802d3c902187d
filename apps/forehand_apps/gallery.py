"""``forehand gallery``: what a benchmark looks like, on one page that needs nothing beside itself."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from forehand import Benchmark, Exhibit, Observation, Robot
from forehand.data.video import Encoding, VideoWriter
from forehand.errors import ConfigurationError, UnknownName
from forehand.execution import RecedingHorizon
from forehand.oracle import Oracle
from forehand.registry import nearest
from forehand.rollout import Moment, rollout
from forehand_apps.assembly import make
from forehand_apps.gallery_page import Shown, write_page
from forehand_apps.pages import jpeg

PARTS = "parts"
SMALL = 0.5  # of a large picture's height, for those beside it
ENCODING = Encoding(crf=24, gop=60, preset="slow")
FIRST, LAST = 0.3, 0.9  # s, that a film stays at its first and last moment

Picture = NDArray[np.uint8]


def gallery(config: DictConfig) -> None:
    """Draw what is not there yet, and write the page."""
    for name, least in (("stills", 64), ("films", 64), ("seed", 0)):
        if config[name] < least:
            raise ConfigurationError(f"gallery needs {name} ≥ {least}, not {config[name]}.")
    folder = Path(config.output).expanduser()
    benchmark: Benchmark = make("benchmark", config.benchmark)
    exhibits = _chosen(benchmark.exhibits(config.seed), config.sections)
    studio = Studio(config, benchmark, folder / PARTS)
    columns = (TextColumn("{task.description:<24}"), BarColumn(), MofNCompleteColumn())
    console = Console(stderr=True)
    shown: list[Shown] = []
    try:
        with Progress(*columns, TimeElapsedColumn(), TimeRemainingColumn(), console=console) as progress:
            bar = progress.add_task("", total=len(exhibits))
            for exhibit in exhibits:
                progress.update(bar, description=exhibit.title)
                shown.append(studio.show(exhibit))
                progress.advance(bar)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(
            f"Interrupted. {len(shown)} of {len(exhibits)} exhibits are drawn; the same command goes on from there."
        ) from None
    finally:
        studio.close()
    page = write_page(folder, config.benchmark.name, benchmark, studio.contract, shown)
    console.print(f"Look at [bold]{page}[/] ({page.stat().st_size / 1e6:.1f} MB).", soft_wrap=True)


class Studio:
    """Draws exhibits with one robot for pictures and one for films, and keeps what it drew in ``folder``."""

    def __init__(self, config: DictConfig, benchmark: Benchmark, folder: Path) -> None:
        self._config, self._benchmark, self._folder = config, benchmark, folder
        self._robots: dict[bool, Robot] = {}
        self._setup = OmegaConf.to_container(config, resolve=True)
        self.contract = make("robot", config.robot).contract

    def show(self, exhibit: Exhibit) -> Shown:
        """The exhibit with its files, drawn now unless they are there."""
        path = self._folder / f"{_slug(exhibit)}-{self._key(exhibit)}.json"
        if path.exists():
            facts = json.loads(path.read_text(encoding="utf-8"))
        else:
            self._folder.mkdir(parents=True, exist_ok=True)
            facts = self._film(exhibit, path) if exhibit.film else self._still(exhibit, path)
            staging = path.with_name(f".{path.name}.new")
            staging.write_text(json.dumps(facts), encoding="utf-8")
            os.replace(staging, path)  # last, so that what is there is whole
        labels = {name: str(exhibit.trial[0].options.get(name)) for name in self._benchmark.annotations}
        files = [self._folder / name for name in facts["files"]]
        return Shown(exhibit, files, labels, facts["steps"], facts["success"])

    def close(self) -> None:
        """Let go of the robots."""
        for robot in self._robots.values():
            robot.close()

    def _robot(self, film: bool) -> Robot:
        if film not in self._robots:
            robot: Robot = make("robot", self._config.robot)
            if self._config.pretty:
                size = self._config.films if film else self._config.stills
                robot = robot.for_people(size, portrait=not film)
            robot.connect()
            self._robots[film] = robot
        return self._robots[film]

    def _still(self, exhibit: Exhibit, path: Path) -> dict[str, Any]:
        """A large picture of the first camera, and smaller ones of the others."""
        robot = self._robot(film=False)
        pictures = _pictures(robot.reset(exhibit.trial[0]), robot)
        names = []
        for number, picture in enumerate(pictures):
            names.append(f"{path.stem}-{number}.jpg")
            height = self._config.stills if number == 0 else round(self._config.stills * SMALL)
            (self._folder / names[-1]).write_bytes(jpeg(_scaled(picture, height), quality=88))
        return {"files": names, "steps": 0, "success": None}

    def _film(self, exhibit: Exhibit, path: Path) -> dict[str, Any]:
        """All cameras side by side while the expert solves the trial, and a picture of its first moment."""
        robot = self._robot(film=True)
        expert, frames = Oracle(self._benchmark, robot), list[Picture]()

        def watch(moment: Moment) -> None:
            frames.append(
                np.concatenate([_scaled(p, self._config.films) for p in _pictures(moment.observation, robot)], 1)
            )

        steps, success = 0, True
        for episode in exhibit.trial:
            outcome = rollout(robot, expert, episode, RecedingHorizon(), watch=watch)
            steps, success = steps + outcome.steps, outcome.success
            if not success:
                break
        rate = round(robot.contract.rate)
        height, width = (side - side % 2 for side in frames[0].shape[:2])  # H.264 halves the colour planes
        film, poster = f"{path.stem}.mp4", f"{path.stem}.jpg"
        writer = VideoWriter(self._folder / film, rate, height, width, ENCODING)
        for frame in [*[frames[0]] * round(FIRST * rate), *frames, *[frames[-1]] * round(LAST * rate)]:
            writer.write(frame[:height, :width])
        writer.close()
        (self._folder / poster).write_bytes(jpeg(frames[0], quality=75))
        return {"files": [film, poster], "steps": steps, "success": success}

    def _key(self, exhibit: Exhibit) -> str:
        """Tells drawings apart that are not of the same thing or not drawn in the same way."""
        assert isinstance(self._setup, dict)
        way = {name: self._setup[name] for name in ("robot", "pretty", "films" if exhibit.film else "stills")}
        what = [asdict(episode) for episode in exhibit.trial]
        return hashlib.sha256(json.dumps([way, what], sort_keys=True, default=str).encode()).hexdigest()[:12]


def _chosen(exhibits: Sequence[Exhibit], sections: Sequence[str] | None) -> list[Exhibit]:
    known = list(dict.fromkeys(exhibit.section.lower() for exhibit in exhibits))
    for name in sections or ():
        if name.lower() not in known:
            raise UnknownName(f"There is no section {name!r}. {nearest(name.lower(), known)}")
    wanted = known if sections is None else [name.lower() for name in sections]
    return [exhibit for exhibit in exhibits if exhibit.section.lower() in wanted]


def _pictures(observation: Observation, robot: Robot) -> list[Picture]:
    return [observation.images[camera.name] for camera in robot.contract.cameras]


def _scaled(picture: Picture, height: int) -> Picture:
    from PIL import Image

    if picture.shape[0] == height:
        return picture
    width = round(picture.shape[1] * height / picture.shape[0])
    return np.asarray(Image.fromarray(picture).resize((width, height), Image.Resampling.LANCZOS))


def _slug(exhibit: Exhibit) -> str:
    words = f"{exhibit.section}-{exhibit.title}".lower()
    return "".join(letter if letter.isalnum() else "-" for letter in words)
