"""CALVIN's play data (Mees et al. 2022): one npz file a frame, and indices of ranges and annotated segments."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from forehand.data.importing.faults import first_readable
from forehand.data.importing.importer import EpisodeContent, Importer, SourceEpisode, Step
from forehand.data.importing.source_files import source_path
from forehand.data.importing.statements import Statements
from forehand.errors import ConfigurationError, DatasetError, nearest
from forehand_plugins.importers.calvin.annotations import Segment, read_annotations, read_scenes
from forehand_plugins.importers.calvin.frames import ACTIONS, RATE, STATE, FrameLayout, frame_path, read_frame
from forehand_plugins.importers.calvin.segments import between, inside, read_ranges

RANGES, SCENES = "ep_start_end_ids.npy", "scene_info.npy"
ANNOTATIONS = "auto_lang_ann.npy"
CAMERAS = {"static": "rgb_static", "wrist": "rgb_gripper"}
PARTS = ("annotated", "unannotated", "all", "ranges")
DEFINITION = "definition of the format"


class CalvinImporter(Importer):
    """The folder ``source`` of one split, such as ``task_ABC_D/training``.

    part: ``annotated`` segments, each an episode; ``unannotated``: the runs of frames between them; ``all``: first the
    one, then the other; ``ranges``: each recorded range as a whole, without sentences. annotations: the folder of
    ``auto_lang_ann.npy``. silence: the sentence where nothing was said. cameras: name → array. state: names of
    :data:`~forehand_plugins.importers.calvin.frames.STATE`. actions: ``rel_actions`` or ``actions``. depth: name → array,
    with ``depth_unit``. tactile, scene_obs: whether these are taken. scene: a letter that is noted for all episodes, or
    ``file`` for what ``scene_info.npy`` says.
    """

    robot = "panda"

    def __init__(
        self,
        source: str,
        part: str = "annotated",
        annotations: str = "lang_annotations",
        silence: str = "",
        cameras: Mapping[str, str] | None = None,
        state: Sequence[str] = ("position", "rotation", "gripper"),
        actions: str = "rel_actions",
        depth: Mapping[str, str] | None = None,
        depth_unit: str | None = None,
        tactile: bool = False,
        scene_obs: bool = False,
        scene: str | None = None,
    ) -> None:
        self._root = _split_folder(source_path(source))
        self.statements = Statements("calvin")
        self.statements.ask("part", part, "which frames become episodes", PARTS)
        self.statements.ask("actions", actions, "which actions are taken", tuple(ACTIONS))
        if unknown := [name for name in state if name not in STATE]:
            raise ConfigurationError(f"state names {unknown[0]!r}. {nearest(unknown[0], STATE)}")
        if depth:
            self.statements.ask("depth_unit", depth_unit, "the unit of a count of depth", ("m", "cm", "mm"))
        self.statements.require()
        self._part, self._silence = part, silence
        self._layout = FrameLayout(
            dict(CAMERAS if cameras is None else cameras), state, actions, depth or {}, depth_unit, tactile, scene_obs
        )
        self._annotations = self._root / annotations / ANNOTATIONS
        self._ranges = read_ranges(self._root / RANGES)
        segments = [] if part == "ranges" else read_annotations(self._annotations)
        self._segments = {_name(i, s): s for i, s in enumerate(segments) if inside(s, self._ranges)}
        if part in ("annotated", "all"):
            reason = f"the segment lies outside the ranges of {RANGES}"
            self.dropped = {_name(i, s): reason for i, s in enumerate(segments) if not inside(s, self._ranges)}
        self._scene = scene
        self._scenes = read_scenes(self._root / SCENES) if scene == "file" else {}
        _, self.contract = first_readable(self._samples(), lambda number: self._layout.contract(self._frame(number)))
        self._know()

    def episodes(self) -> Sequence[SourceEpisode]:
        """See :meth:`Importer.episodes`."""
        found: list[SourceEpisode] = []
        if self._part in ("annotated", "all"):
            found += [_episode(name, segment) for name, segment in self._segments.items()]
        if self._part in ("unannotated", "all"):
            runs = between(self._ranges, list(self._segments.values()))
            found += [_episode(f"unannotated/{a:07d}-{b:07d}", Segment(a, b)) for a, b in runs]
        if self._part == "ranges":
            found += [_episode(f"ranges/{a:07d}-{b:07d}", Segment(a, b)) for a, b in self._ranges]
        return found

    def read(self, episode: SourceEpisode) -> EpisodeContent:
        """See :meth:`Importer.read`."""
        segment: Segment = episode.about
        facts: dict[str, Any] = {"annotated": bool(segment.sentence), "first_frame": segment.first}
        if segment.task:
            facts["task"] = segment.task
        if self._scene is not None:
            facts["scene"] = self._scene_of(segment)
        return EpisodeContent(self._steps(segment), segment.sentence or self._silence, facts)

    def files(self) -> Sequence[Path]:
        """The indices, and the first and the last frame of each range."""
        ends = [frame_path(self._root, number) for span in self._ranges for number in span]
        indices = [self._root / RANGES, *([] if self._part == "ranges" else [self._annotations])]
        return [*indices, *dict.fromkeys(ends)]

    def _steps(self, segment: Segment) -> Iterator[Step]:
        for number in range(segment.first, segment.last + 1):
            yield self._layout.step(self._frame(number))

    def _samples(self) -> Iterator[int]:
        """Numbers of frames that show what all have: the ends of the ranges, and then all that are recorded."""
        yield from dict.fromkeys(number for span in self._ranges for number in span)
        for first, last in self._ranges:
            yield from range(first + 1, last)

    def _frame(self, number: int) -> Mapping[str, Any]:
        return read_frame(frame_path(self._root, number), self._layout.arrays())

    def _scene_of(self, segment: Segment) -> str:
        if self._scene != "file":
            return str(self._scene)
        return next((s for s, (a, b) in self._scenes.items() if a <= segment.first and segment.last <= b), "")

    def _know(self) -> None:
        know = self.statements.know
        know("rate", RATE, DEFINITION)
        know("pictures", "upright", DEFINITION)
        know("state rotation", "extrinsic xyz Euler angles in rad, which wrap at ±π", DEFINITION)
        know("gripper", "-1 closed, +1 open", DEFINITION)
        if self._layout.actions == "rel_actions":
            know("action scale", "metres × 50 and rad × 20, clipped to ±1: 1.0 is 0.02 m and 0.05 rad", DEFINITION)
            know("action reference", "last target pose, axes of the world", DEFINITION)
        know("alignment", "an observation precedes the action of the same file", DEFINITION)
        know("sentence", f"{self._annotations.parent.name}/{ANNOTATIONS}" if self._segments else "none", "the source")
        if self._scene == "file":
            know("scene", SCENES, "the source; that of D/training said A before 16 September 2022")


def _split_folder(path: Path) -> Path:
    if (path / RANGES).is_file():
        return path
    splits = [name for name in ("training", "validation") if (path / name / RANGES).is_file()]
    if splits:
        raise DatasetError(
            f"{path.absolute()} holds several splits. Import one at a time: "
            + " or ".join(f"source={path / name}" for name in splits)
        )
    raise DatasetError(f"{path.absolute()} is no split of CALVIN: it has no {RANGES}. Correct source=….")


def _name(number: int, segment: Segment) -> str:
    return f"annotated/{number:06d}-{segment.first:07d}-{segment.last:07d}"


def _episode(name: str, segment: Segment) -> SourceEpisode:
    return SourceEpisode(name, segment.last - segment.first + 1, segment)
