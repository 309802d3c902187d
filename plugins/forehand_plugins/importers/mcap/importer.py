"""MCAP importer: ROS messages resampled to control steps, by a layout that states what their numbers mean."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from forehand import Contract
from forehand.data.importing.faults import first_readable, listed
from forehand.data.importing.importer import EpisodeContent, EpisodeDropped, Importer, Picture, SourceEpisode, Step
from forehand.data.importing.pictures import decode_picture
from forehand.data.importing.statements import Statements
from forehand.errors import ConfigurationError, DatasetError
from forehand_plugins.importers.layouts.columns import Column
from forehand_plugins.importers.layouts.layout import read_layout
from forehand_plugins.importers.mcap.bag import find_bags, opened_bag
from forehand_plugins.importers.mcap.marks import Interval, intervals, sentence_at
from forehand_plugins.importers.mcap.messages import joint_names, numbers_of, picture_of, topic_of
from forehand_plugins.importers.mcap.resampling import COMMAND, LATEST, NEAREST, SECOND, Run, Use, runs

PRESETS = Path(__file__).parent / "layouts"  # none so far

_ASKED = {
    "instruction": ("the sentence of all episodes, '' where nothing was said, or a topic of texts such as /task", None),
    "max_gap": ("the oldest message that a step may take, in s; or {default: 0.2, /gripper: 60} by topic", None),
    "clock": ("which time of a message counts: its header's, or when it was logged", ("header", "log")),
}


@dataclass(frozen=True)
class _Place:
    """Where an episode is: its bag, its steps, its sentence, and the log time (ns) from which messages are read, with how
    many messages of each topic come before it."""

    bag: Path
    run: Run
    sentence: str
    start: int
    before: Mapping[str, int]


class McapImporter(Importer):
    """The bag ``source``, or every bag below a folder.

    layout: a YAML file; cameras, state, action, rate, instruction, max_gap, clock, marks and definitions replace its
    entries. Keys of columns are ``/topic``, ``/topic:field`` or ``/topic:field:joint,joint``. picture_time: ``latest`` or
    ``nearest`` to a step. marks: a topic whose messages begin and end episodes; otherwise each bag is one, and a gap ends
    it. shortest: the fewest steps of an episode. definitions: the ROS release of bags that hold no definitions.
    """

    def __init__(
        self,
        source: str,
        layout: str | None = None,
        cameras: Mapping[str, Any] | None = None,
        state: Sequence[Mapping[str, Any]] | None = None,
        action: Any = None,
        rate: float | None = None,
        instruction: str | None = None,
        max_gap: Any = None,
        clock: str | None = None,
        marks: str | None = None,
        definitions: str | None = None,
        picture_time: str = LATEST,
        shortest: int = 2,
    ) -> None:
        self._root, self._bags = find_bags(source)
        self.statements = statements = Statements("mcap")
        statements.ask("picture_time", picture_time, "which picture a step takes", (LATEST, NEAREST))
        options = {"cameras": cameras, "state": state, "action": action, "rate": rate, "instruction": instruction}
        options |= {"max_gap": max_gap, "clock": clock, "marks": marks, "definitions": definitions}
        self._definitions, self._shortest = definitions, shortest
        try:
            known = ("marks", "definitions", "robot")
            self._layout = read_layout(statements, layout, PRESETS, options, _ASKED, known)
        except ConfigurationError as error:
            path, topics = first_readable(self._bags, self._listing)
            raise ConfigurationError(f"{error}\nThe bag {path.name} has {topics}.") from error
        more = self._layout.more
        self.robot, self._marks, self._definitions = more["robot"], more["marks"], more["definitions"]
        self._sentence, self._header = str(more["instruction"]), more["clock"] == "header"
        self._uses = self._all_uses(picture_time)
        self._gaps = _gaps(more["max_gap"], [topic for topic, _ in self._uses])
        statements.know("alignment", "an action is the latest command when its step ends; no interpolation", "resampling")
        self.orientation = self._layout.orientation
        _, (self._joints, self.contract) = first_readable(self._bags, self._described)

    def episodes(self) -> Sequence[SourceEpisode]:
        """See :meth:`Importer.episodes`; reads the times of all messages."""
        return [
            episode
            for path in self._bags
            for episode in listed(path.relative_to(self._root).as_posix(), None, partial(self._in_bag, path))
        ]

    def files(self) -> Sequence[Path]:
        """See :meth:`Importer.files`."""
        found = [[p for p in bag.iterdir() if p.is_file()] if bag.is_dir() else [bag] for bag in self._bags]
        return sorted(path for paths in found for path in paths)

    def read(self, episode: SourceEpisode) -> EpisodeContent:
        """See :meth:`Importer.read`."""
        place: _Place = episode.about
        if len(place.run) < self._shortest:
            raise EpisodeDropped(f"it has fewer steps than {self._shortest}")
        return EpisodeContent(self._steps(place), place.sentence, {"start_ns": place.run.start}, place.run.lost)

    def _listing(self, path: Path) -> str:
        with opened_bag(path, self._definitions) as bag:
            return bag.listing()

    def _described(self, path: Path) -> tuple[dict[str, tuple[str, ...]], Contract]:
        """The names of joints by topic, and the contract, by the first messages of a bag."""
        with opened_bag(path, self._definitions) as bag:
            first = bag.first({topic for topic, _ in self._uses})

        def size(key: str) -> int:
            return len(numbers_of(key, first[topic_of(key)]))

        def picture_size(key: str) -> tuple[int, int]:
            height, width, _ = decode_picture(picture_of(key, first[key])).shape
            return height, width

        joints = {topic: joint_names(message) for topic, message in first.items()}
        return joints, self._layout.contract(picture_size, size)

    def _in_bag(self, path: Path) -> Iterator[SourceEpisode]:
        for i, place in enumerate(self._places(path)):
            yield SourceEpisode(f"{path.relative_to(self._root).as_posix()}/{i:04d}", len(place.run), place)

    def _places(self, path: Path) -> Iterator[_Place]:
        topics = {topic for topic, _ in self._uses}
        with opened_bag(path, self._definitions) as bag:
            stamps = bag.stamps(topics, self._header)
            whole = [Interval(0, int(np.iinfo(np.int64).max), "")]
            words = intervals(bag, self._sentence, self._header) if self._sentence.startswith("/") else []
            spans = intervals(bag, self._marks, self._header) if self._marks else whole
        times = {topic: pair[0] for topic, pair in stamps.items()}
        if self._header:
            self._note_clocks(path, times)
        found = False
        for span in spans:
            for run in runs(times, self._uses, self._layout.rate, self._gaps, span.begin, span.end):
                found = True
                logged = {topic: stamps[topic][1] for topic in topics}
                start = min(int(logged[topic][numbers].min()) for (topic, _), numbers in run.picks.items())
                before = {topic: int(np.searchsorted(log, start)) for topic, log in logged.items()}
                said = sentence_at(words, run.start) if self._sentence.startswith("/") else self._sentence
                yield _Place(path, run, said, start, before)
        if not found:
            empty = [topic for topic in sorted(topics) if not len(times[topic])]
            self.dropped = {**self.dropped, path.relative_to(self._root).as_posix(): _nothing(empty)}

    def _note_clocks(self, path: Path, times: Mapping[str, NDArray[np.int64]]) -> None:
        """Note how often the header clock of a topic goes back from one message to the next, in a bag."""
        for topic, stamps in sorted(times.items()):
            steps = np.diff(stamps)
            if not (steps < 0).any():
                continue
            earlier = int((stamps < np.maximum.accumulate(stamps)).sum())
            self.statements.know(
                f"clock of {topic} in {path.relative_to(self._root).as_posix()}",
                f"goes back {int((steps < 0).sum())} times, by up to {-steps.min() / SECOND:g} s: {earlier} of "
                f"{len(stamps)} messages are put among earlier ones, where a step may pass them over",
                "the headers of its messages; clock=log takes the times at which they were recorded",
                notice=True,
            )

    def _steps(self, place: _Place) -> Iterator[Step]:
        """The steps of an episode, as soon as their messages were read."""
        wanted = _last_steps(place.run)
        held: dict[str, dict[int, Any]] = {topic: {} for topic in wanted}
        count, step = dict(place.before), 0
        with opened_bag(place.bag, self._definitions) as bag:
            for topic, _, decode in bag.messages(set(wanted), place.start):
                number, count[topic] = count[topic], count[topic] + 1
                if number not in wanted[topic]:
                    continue
                held[topic][number] = decode()
                while step < len(place.run) and self._complete(place.run, step, held):
                    yield self._step(place, step, held)
                    for of_topic, messages in held.items():
                        for seen in [n for n in messages if wanted[of_topic][n] <= step]:
                            del messages[seen]
                    step += 1
                if step == len(place.run):
                    return
        raise DatasetError(f"{place.bag} ends before the last step of its episode. It was changed since it was indexed.")

    def _complete(self, run: Run, step: int, held: Mapping[str, Mapping[int, Any]]) -> bool:
        return all(int(numbers[step]) in held[topic] for (topic, _), numbers in run.picks.items())

    def _step(self, place: _Place, step: int, held: Mapping[str, Mapping[int, Any]]) -> Step:
        def message(topic: str, how: str) -> Any:
            return held[topic][int(place.run.picks[topic, how][step])]

        pictures: dict[str, Picture] = {
            camera.name: picture_of(camera.key, message(camera.key, self._how)) for camera in self._layout.cameras
        }
        state = self._numbers(place, self._layout.state, lambda topic: message(topic, LATEST))
        return Step(pictures, state, self._numbers(place, self._layout.action, lambda topic: message(topic, COMMAND)))

    def _numbers(self, place: _Place, columns: Sequence[Column], message: Any) -> NDArray[np.float64]:
        parts = []
        for column in columns:
            topic = topic_of(column.key)
            found = message(topic)
            if column.key.count(":") < 2 and joint_names(found) != self._joints[topic]:
                raise DatasetError(
                    f"{place.bag}: the joints of {topic} are {', '.join(joint_names(found))} in one message and "
                    f"{', '.join(self._joints[topic])} in another. Choose them by name: {topic}:position:name,name."
                )
            parts.append(column.take(numbers_of(column.key, found)[None])[0])
        return np.concatenate(parts)

    def _all_uses(self, pictures: str) -> list[Use]:
        for column in self._layout.action:
            if column.stated.get("mode") == "delta":
                raise ConfigurationError(
                    f"action.{column.name} is relative, and relative commands cannot be resampled: some would be lost or "
                    f"repeated. Take absolute ones, or poses that were measured."
                )
        self._how = pictures
        uses = [(camera.key, pictures) for camera in self._layout.cameras]
        uses += [(topic_of(column.key), LATEST) for column in self._layout.state]
        uses += [(topic_of(column.key), COMMAND) for column in self._layout.action]
        return list(dict.fromkeys(uses))


def _last_steps(run: Run) -> dict[str, dict[int, int]]:
    """Topic → number of a message → the last step that takes it."""
    found: dict[str, dict[int, int]] = {}
    for (topic, _), numbers in run.picks.items():
        of_topic = found.setdefault(topic, {})
        for step, number in enumerate(numbers.tolist()):
            of_topic[number] = max(step, of_topic.get(number, 0))
    return found


def _gaps(stated: Any, topics: Sequence[str]) -> dict[str, float]:
    """Topic → the oldest message in s that a step may take."""
    by_topic = dict(stated) if isinstance(stated, Mapping) else {"default": stated}
    if unknown := [topic for topic in by_topic if topic != "default" and topic not in topics]:
        raise ConfigurationError(f"max_gap names {unknown[0]!r}, which is none of the topics {', '.join(topics)}.")
    missing = [topic for topic in topics if topic not in by_topic and by_topic.get("default") is None]
    if missing:
        raise ConfigurationError(f"max_gap says nothing of {missing[0]}; give it, or default.")
    return {topic: float(by_topic[topic if topic in by_topic else "default"]) for topic in topics}


def _nothing(empty: Sequence[str]) -> str:
    return f"no message of {', '.join(empty)}" if empty else "no step has a message of every topic that is recent enough"
