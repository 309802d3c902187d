"""Plain video: a folder of video files, one an episode, without actions and without states."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from forehand import Camera, Contract
from forehand.data.importing.importer import EpisodeContent, Importer, SourceEpisode, Step
from forehand.data.importing.pictures import check_orientation
from forehand.data.importing.source_files import natural, readable, source_path
from forehand.data.importing.statements import Statements
from forehand.errors import ConfigurationError, DatasetError
from forehand.utils.images import resize
from forehand.utils.video_reader import VideoReader, damaged

FILES = (".mp4", ".mkv", ".mov", ".webm", ".avi", ".m4v")
SENTENCE = ".txt"


@dataclass(frozen=True)
class Clip:
    """What a video file says of itself: frames a second, seconds, and the size of its pictures as they are stored."""

    rate: float
    seconds: float
    height: int
    width: int


class VideoImporter(Importer):
    """The videos in ``source``, a folder, and below it.

    cameras: name → folder in ``source``, whose files of the same name are one episode; None: ``source`` itself is the
    camera ``static``. rate: Hz, at most that of the files, which are resampled to the nearest frames; None: that of the
    files, where it is a whole number. size: (height, width) of the pictures, of which the middle is taken in this shape;
    None: as they are, all of one size. instruction: the sentence of all episodes; None: the text file beside each video.
    orientation: how all pictures lie. shortest: seconds of the shortest episode; shorter ones are left out.
    """

    def __init__(
        self,
        source: str,
        cameras: Mapping[str, str] | None = None,
        rate: float | None = None,
        size: Sequence[int] | None = None,
        instruction: str | None = None,
        orientation: str = "upright",
        shortest: float = 0.0,
    ) -> None:
        root = source_path(source)
        folders = {"static": root} if cameras is None else {name: root / folder for name, folder in cameras.items()}
        if not folders or not all(folder.is_dir() for folder in folders.values()):
            missing = next((str(folder) for folder in folders.values() if not folder.is_dir()), "cameras: {}")
            raise DatasetError(f"There is no folder of videos {missing}. Correct source=… or cameras=….")
        self._videos = _by_episode(folders)
        self._instruction = instruction
        self._main = next(iter(folders))
        clips = {name: {camera: _probe(path) for camera, path in of.items()} for name, of in self._videos.items()}
        self.statements = statements = Statements("video")
        rates = {clip.rate for of in clips.values() for clip in of.values()}
        if rate is None and len(rates) == 1 and next(iter(rates)) % 1 == 0:
            rate = statements.know("rate", next(iter(rates)), "the video files")
        else:
            said = ", ".join(f"{one:g}" for one in sorted(rates)[:5])
            rate = statements.ask("rate", rate, f"frames a second, in Hz; the files have {said}")
        silent = [name for name in clips if not self._sentence_file(name).is_file()]
        if instruction is not None or silent:
            statements.ask(
                "instruction", instruction, f"what is said in videos without a text file, as {next(iter(clips))!r}"
            )
        else:
            statements.know("instruction", f"*{SENTENCE} beside each video", "the text files")
        statements.require()
        assert rate is not None
        if (slow := min(rates)) < rate:
            raise ConfigurationError(f"rate={rate:g} is more than the {slow:g} frames a second that a video has.")
        statements.know("actions and states", "none", "definition of the format")
        self._size = None if size is None else (int(size[0]), int(size[1]))
        self.orientation = {camera: check_orientation(camera, orientation) for camera in folders}
        statements.know("orientation", orientation, "assumed of video files, or stated by option")
        self._clips = clips
        self.dropped = {
            name: f"shorter than {shortest:g} s"
            for name, of in clips.items()
            if min(clip.seconds for clip in of.values()) < max(shortest, 1 / rate)
        }
        shapes = {camera: self._shape(camera) for camera in folders}
        self.contract = Contract(
            tuple(Camera(c, *shape, "wrist" if "wrist" in c else "static") for c, shape in shapes.items()), (), (), rate
        )

    def episodes(self) -> Sequence[SourceEpisode]:
        """See :meth:`Importer.episodes`."""
        return [SourceEpisode(name, about=name) for name in self._videos if name not in self.dropped]

    def files(self) -> Sequence[Path]:
        """See :meth:`Importer.files`: the videos and their sentences."""
        videos = [path for of in self._videos.values() for path in of.values()]
        return [*videos, *(file for name in self._videos if (file := self._sentence_file(name)).is_file())]

    def read(self, episode: SourceEpisode) -> EpisodeContent:
        """See :meth:`Importer.read`."""
        sentence = self._instruction
        if sentence is None:
            with readable(self._sentence_file(episode.about)):
                sentence = self._sentence_file(episode.about).read_text(encoding="utf-8").strip()
        seconds = min(clip.seconds for clip in self._clips[episode.about].values())
        count = math.ceil(round(seconds * self.contract.rate, 3))
        return EpisodeContent(self._steps(self._videos[episode.about], count), sentence)

    def _steps(self, videos: Mapping[str, Path], count: int) -> Iterator[Step]:
        nothing: NDArray[Any] = np.zeros(0, np.float32)
        with ExitStack() as stack:
            readers = {
                camera: stack.enter_context(closing(VideoReader(path, self.contract.rate)))
                for camera, path in videos.items()
            }
            for place in range(count):
                images = {}
                for camera, reader in readers.items():
                    pictures, lacking = reader.read([place])
                    if lacking:
                        if self._goes_on(videos[camera], reader, place):
                            raise DatasetError(f"{videos[camera]} has no frame at {place / self.contract.rate:.2f} s.")
                        return
                    images[camera] = self._sized(pictures)[0]
                yield Step(images, nothing, nothing)

    def _goes_on(self, path: Path, reader: VideoReader, place: int) -> bool:
        """Whether a video has frames behind a place that has none."""
        return not reader.read([place + 1])[1] or not reader.read([place + 2])[1]

    def _sized(self, pictures: NDArray[np.uint8]) -> NDArray[np.uint8]:
        if self._size is None:
            return pictures
        height, width = self._size
        rows, columns = pictures.shape[1:3]
        tall, wide = min(rows, round(columns * height / width)), min(columns, round(rows * width / height))
        top, left = (rows - tall) // 2, (columns - wide) // 2
        return resize(np.ascontiguousarray(pictures[:, top : top + tall, left : left + wide]), self._size)

    def _shape(self, camera: str) -> tuple[int, int]:
        if self._size is not None:
            return self._size
        shapes = {(of[camera].height, of[camera].width): name for name, of in self._clips.items()}
        if len(shapes) > 1:
            listing = ", ".join(f"{height} × {width} ({name})" for (height, width), name in list(shapes.items())[:5])
            raise ConfigurationError(
                f"Videos of camera {camera!r} have different sizes: {listing}. Give size=[height,width]."
            )
        return next(iter(shapes))

    def _sentence_file(self, name: str) -> Path:
        return self._videos[name][self._main].with_suffix(SENTENCE)


def _by_episode(folders: Mapping[str, Path]) -> dict[str, dict[str, Path]]:
    """Episode → the video of each camera; raises :class:`DatasetError` where a camera lacks one."""
    found: dict[str, dict[str, Path]] = {}
    for camera, folder in folders.items():
        for path in folder.rglob("*"):
            if path.is_file() and path.suffix.lower() in FILES:
                found.setdefault(path.relative_to(folder).with_suffix("").as_posix(), {})[camera] = path
    if not found:
        raise DatasetError(
            f"There is no video in {', '.join(map(str, folders.values()))} or below: no file ends in {', '.join(FILES)}."
        )
    for name, videos in found.items():
        if missing := [camera for camera in folders if camera not in videos]:
            raise DatasetError(f"There is no video {name!r} of camera {missing[0]!r} in {folders[missing[0]]}.")
    return {name: found[name] for name in sorted(found, key=natural)}


def _probe(path: Path) -> Clip:
    """What the file says of itself, and its first frame; raises :class:`DatasetError` for one that cannot be imported."""
    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise DatasetError(f"{path} holds no video. Leave it out.")
            stream = container.streams.video[0]
            frame, rate = next(container.decode(stream), None), float(stream.average_rate or 0)
            length = container.duration / av.time_base if container.duration else stream.frames / (rate or 1)
    except av.FFmpegError as error:
        raise damaged(path, error.strerror) from error
    if frame is None or not rate:
        raise damaged(path, "it has no frame, or does not say how many there are in a second")
    if frame.rotation:
        raise DatasetError(
            f"{path} is to be shown turned by {frame.rotation}°, and its pictures lie otherwise. Turn them: ffmpeg -i "
            f"{path.name} turned.mp4"
        )
    return Clip(rate, length, frame.height, frame.width)
