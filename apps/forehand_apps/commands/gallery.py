"""``forehand gallery``: what a benchmark looks like, on one page that needs nothing beside itself."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from omegaconf import DictConfig, OmegaConf
from rich.console import Console

from forehand import Benchmark, Observation, Robot, Showcase
from forehand.contracts.sensor import DEPTH
from forehand.control.chunking import RecedingHorizon
from forehand.errors import UnknownName, nearest
from forehand.evaluation.expert_policy import Oracle
from forehand.running.control_step import Step
from forehand.running.depth_colours import DepthColours
from forehand.running.rollout import rollout
from forehand.showcase import for_rendering
from forehand.showcase import showcases as showcases_of
from forehand.utils.files import replacing
from forehand.utils.numbers import count
from forehand.utils.progress import progress
from forehand.utils.video import Encoding, VideoWriter
from forehand_apps.cli.instantiate import contract_of, make, make_robot
from forehand_apps.pages.gallery import RenderedShowcase, write_page
from forehand_apps.pages.render import jpeg

PARTS = "parts"
SMALL = 0.5  # of a large picture's height, for those beside it
ENCODING = Encoding(crf=24, gop=60, preset="slow")
FIRST, LAST = 0.3, 0.9  # s, for which a video stays at its first and last frame

Picture = NDArray[np.uint8]


def gallery(config: DictConfig) -> None:
    """Render the showcases that are missing, and write the page."""
    count(64, image_height=config.image_height, video_height=config.video_height)
    folder = Path(config.output).expanduser()
    benchmark: Benchmark = make("benchmark", config.benchmark)
    showcases = _chosen(showcases_of(benchmark, config.seed), config.sections)
    renderer = ShowcaseRenderer(config, benchmark, folder / PARTS)
    console = Console(stderr=True)
    shown: list[RenderedShowcase] = []
    try:
        with progress("drawing", len(showcases), console=console) as show:
            for showcase in showcases:
                show(len(shown), showcase.title)
                shown.append(renderer.show(showcase))
            show(len(shown))
    except KeyboardInterrupt:
        raise KeyboardInterrupt(
            f"Interrupted. {len(shown)} of {len(showcases)} showcases are drawn; the same command continues from there."
        ) from None
    finally:
        renderer.close()
    page = write_page(folder, config.benchmark.name, benchmark, renderer.contract, shown)
    console.print(f"Look at [bold]{page}[/] ({page.stat().st_size / 1e6:.1f} MB).", soft_wrap=True)


class ShowcaseRenderer:
    """Renders showcases with one robot for images and one for videos, and keeps the files in ``folder``."""

    def __init__(self, config: DictConfig, benchmark: Benchmark, folder: Path) -> None:
        self._config, self._benchmark, self._folder = config, benchmark, folder
        self._robots: dict[bool, Robot] = {}
        self._setup = OmegaConf.to_container(config, resolve=True)
        self.contract = contract_of(make_robot(config.robot))

    def show(self, showcase: Showcase) -> RenderedShowcase:
        """The showcase with its files, which are rendered unless they exist."""
        path = self._folder / f"{_slug(showcase)}-{self._key(showcase)}.json"
        if path.exists():
            facts = json.loads(path.read_text(encoding="utf-8"))
        else:
            self._folder.mkdir(parents=True, exist_ok=True)
            facts = self._video(showcase, path) if showcase.video else self._image(showcase, path)
            with replacing(path) as staging:  # last, so that what is there is whole
                staging.write_text(json.dumps(facts), encoding="utf-8")
        labels = {name: str(showcase.trial[0].options.get(name)) for name in self._benchmark.annotations}
        files = [self._folder / name for name in facts["files"]]
        return RenderedShowcase(showcase, files, labels, facts["steps"], facts["success"])

    def close(self) -> None:
        """Close the robots."""
        for robot in self._robots.values():
            robot.close()

    def _robot(self, video: bool) -> Robot:
        if video not in self._robots:
            robot = make_robot(self._config.robot)
            if self._config.pretty:
                size = self._config.video_height if video else self._config.image_height
                robot = for_rendering(robot, size, overview=not video)
            robot.connect()
            self._benchmark.require(robot)
            self._robots[video] = robot
        return self._robots[video]

    def _image(self, showcase: Showcase, path: Path) -> dict[str, Any]:
        """Write a large image of the first camera, smaller ones of the others and of depth; returns facts about them."""
        robot = self._robot(video=False)
        large = self._config.image_height
        heights = [large, *[round(large * SMALL)] * (len(robot.contract.observed) - 1)]
        names = []
        for number, picture in enumerate(_pictures(robot.reset(showcase.trial[0]), robot, _depths(robot), heights)):
            names.append(f"{path.stem}-{number}.jpg")
            (self._folder / names[-1]).write_bytes(jpeg(picture, quality=88))
        return {"files": names, "steps": 0, "success": None}

    def _video(self, showcase: Showcase, path: Path) -> dict[str, Any]:
        """Write a video of all cameras and depth side by side while the expert solves the trial, and its first frame."""
        robot = self._robot(video=True)
        expert, frames = Oracle(self._benchmark, robot), list[Picture]()
        depths, heights = _depths(robot), [self._config.video_height] * len(robot.contract.observed)

        def on_step(step: Step) -> None:
            frames.append(np.concatenate(_pictures(step.observation, robot, depths, heights), 1))

        steps, success = 0, True
        for episode in showcase.trial:
            outcome = rollout(robot, expert, episode, RecedingHorizon(), on_step=on_step)
            steps, success = steps + outcome.steps, bool(outcome.success)
            if not success:
                break
        rate = round(robot.contract.rate)
        height, width = (side - side % 2 for side in frames[0].shape[:2])  # H.264 halves the colour planes
        video, poster = f"{path.stem}.mp4", f"{path.stem}.jpg"
        writer = VideoWriter(self._folder / video, rate, height, width, ENCODING)
        for frame in [*[frames[0]] * round(FIRST * rate), *frames, *[frames[-1]] * round(LAST * rate)]:
            writer.write(frame[:height, :width])
        writer.close()
        (self._folder / poster).write_bytes(jpeg(frames[0], quality=75))
        return {"files": [video, poster], "steps": steps, "success": success}

    def _key(self, showcase: Showcase) -> str:
        """A hash of the showcase's episodes and of the options for rendering it."""
        assert isinstance(self._setup, dict)
        way = {
            name: self._setup[name] for name in ("robot", "pretty", "video_height" if showcase.video else "image_height")
        }
        what = [asdict(episode) for episode in showcase.trial]
        return hashlib.sha256(json.dumps([way, what], sort_keys=True, default=str).encode()).hexdigest()[:12]


def _chosen(showcases: Sequence[Showcase], sections: Sequence[str] | None) -> list[Showcase]:
    known = list(dict.fromkeys(showcase.section.lower() for showcase in showcases))
    for name in sections or ():
        if name.lower() not in known:
            raise UnknownName(f"There is no section {name!r}. {nearest(name.lower(), known)}")
    wanted = known if sections is None else [name.lower() for name in sections]
    return [showcase for showcase in showcases if showcase.section.lower() in wanted]


def _depths(robot: Robot) -> list[DepthColours]:
    return [DepthColours(sensor) for sensor in robot.contract.sensors if sensor.kind == DEPTH]


def _pictures(
    observation: Observation, robot: Robot, depths: Sequence[DepthColours], heights: Sequence[int]
) -> list[Picture]:
    """The image of each camera, and of each depth sensor in colours with its range, scaled to its one of ``heights``."""
    cameras = [observation.images[camera.name] for camera in robot.contract.cameras]
    scaled = [_scaled(picture, height) for picture, height in zip(cameras, heights, strict=False)]
    for depth, height in zip(depths, heights[len(cameras) :], strict=False):
        scaled.append(depth.write_label(_scaled(depth.paint(observation.sensors[depth.sensor.name]), height)))
    return scaled


def _scaled(picture: Picture, height: int) -> Picture:
    from PIL import Image

    if picture.shape[0] == height:
        return picture
    width = round(picture.shape[1] * height / picture.shape[0])
    return np.asarray(Image.fromarray(picture).resize((width, height), Image.Resampling.LANCZOS))


def _slug(showcase: Showcase) -> str:
    words = f"{showcase.section}-{showcase.title}".lower()
    return "".join(letter if letter.isalnum() else "-" for letter in words)
