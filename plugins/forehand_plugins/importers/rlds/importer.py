"""RLDS importer: one record an episode, by a layout that states what the numbers mean."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from forehand.data.importing.faults import first_readable, listed, require_listed
from forehand.data.importing.importer import EpisodeContent, EpisodeDropped, Importer, SourceEpisode, Step
from forehand.data.importing.pictures import decode_picture
from forehand.data.importing.statements import Statements
from forehand.errors import ConfigurationError, DatasetError
from forehand_plugins.importers.layouts.layout import read_layout
from forehand_plugins.importers.rlds.records import (
    Values,
    array_record_spans,
    read_array_record,
    read_record,
    record_spans,
)
from forehand_plugins.importers.rlds.schema import ARRAY_RECORD, FEATURES, INFO, Schema, Shard, version_folder

PRESETS = Path(__file__).parent / "layouts"
FAILED, UNTOLD = "failed trial", "no sentence"

_ASKED = {
    "instruction": ("the feature with the sentence, or a list of several", None),
    "last_step": ("keep, or drop the last step, whose action RLDS leaves undefined", ("keep", "drop")),
}
_SUCCESS = ("key", "succeeded", "failed")


class RldsImporter(Importer):
    """The folder ``source`` of one version, with ``features.json`` and files of TFRecord or array_record.

    layout: a preset (``droid``, ``bridge``) or a YAML file; cameras, state, action, rate, instruction, last_step and
    success replace its entries, and action may be the name of one of several. splits: all where None are named. failures:
    ``drop`` or ``keep`` episodes that ``success`` calls failed. silence: the sentence where nothing was said; None drops
    such episodes.
    """

    def __init__(
        self,
        source: str,
        layout: str | None = None,
        cameras: Mapping[str, Any] | None = None,
        state: Sequence[Mapping[str, Any]] | None = None,
        action: Any = None,
        rate: float | None = None,
        instruction: Any = None,
        last_step: str | None = None,
        success: Mapping[str, str] | None = None,
        splits: Sequence[str] | None = None,
        failures: str = "drop",
        silence: str | None = None,
    ) -> None:
        self._schema = schema = Schema(version_folder(source))
        self._shards = schema.shards(splits)
        self.statements = statements = Statements("rlds")
        statements.know("features", f"{schema.name} {schema.version}", f"{FEATURES} and {INFO}")
        options = {"cameras": cameras, "state": state, "action": action, "rate": rate, "instruction": instruction}
        options |= {"last_step": last_step, "success": success}
        try:
            self._layout = read_layout(statements, layout, PRESETS, options, _ASKED, ("success", "robot", "license"))
        except ConfigurationError as error:
            raise ConfigurationError(f"{error}\nThe source has {schema.listing()}.") from error
        more = self._layout.more
        self._sentences = [more["instruction"]] if isinstance(more["instruction"], str) else list(more["instruction"])
        self._success = dict(more["success"] or {})
        if self._success and set(self._success) != set(_SUCCESS):
            raise ConfigurationError(f"success is a mapping of {', '.join(_SUCCESS)}, not {self._success}.")
        statements.ask("failures", failures, "what becomes of failed trials", ("drop", "keep"))
        self._drop_failures, self._silence = failures == "drop", silence
        statements.know("alignment", "an observation precedes the action of the same step", "definition of RLDS")
        for key in [*self._sentences, *filter(None, [self._success.get("key")])]:
            schema.feature(key)
        self.robot, self.licence = more["robot"], more["license"]
        self.orientation = self._layout.orientation
        self.contract = self._layout.contract(self._picture_size, lambda key: schema.feature(key).size)

    def episodes(self) -> Sequence[SourceEpisode]:
        """See :meth:`Importer.episodes`."""
        return [episode for shard in self._shards for episode in self._listed(shard)]

    def files(self) -> Sequence[Path]:
        """See :meth:`Importer.files`."""
        return [self._schema.root / FEATURES, self._schema.root / INFO, *(shard.path for shard in self._shards)]

    def read(self, episode: SourceEpisode) -> EpisodeContent:
        """See :meth:`Importer.read`."""
        values = self._read(episode)
        try:
            return self._content(values)
        except EpisodeDropped:
            raise
        except DatasetError as error:
            raise DatasetError(f"{episode.id} in {self._schema.root}: {error}") from error

    def _content(self, values: Values) -> EpisodeContent:
        schema, facts = self._schema, self._facts(values)
        if self._drop_failures and facts.get("success") is False:
            raise EpisodeDropped(FAILED)
        for camera in self._layout.cameras:
            if camera.present and not schema.numbers(values, camera.present, 1).any():
                raise EpisodeDropped(f"it has no camera {camera.name}")
        sentences, changes = self._sentences_of(values)
        if not any(sentences) and self._silence is None:
            raise EpisodeDropped(UNTOLD)
        said = [s for s in sentences if s] or [self._silence or ""]
        more = {f"instruction_{i}": (said[i - 1 :] or [""])[0] for i in range(2, len(sentences) + 1)}
        steps = schema.length(values)
        kept = steps - (self._layout.more["last_step"] == "drop")
        skipped = {"the last step has no action": 1} if kept < steps else {}
        if changes:
            facts["sentence_changes"] = True
        return EpisodeContent(self._steps(values, steps, kept, more), said[0], facts, skipped)

    def _steps(self, values: Values, steps: int, kept: int, more: Mapping[str, str]) -> Iterator[Step]:
        layout, schema = self._layout, self._schema
        numbers = {key: schema.numbers(values, key, steps)[:kept] for key in layout.columns()}
        pictures = {camera.name: schema.pictures(values, camera.key, steps) for camera in layout.cameras}
        yield from layout.steps(numbers, pictures, more)

    def _sentences_of(self, values: Values) -> tuple[list[str], bool]:
        """The sentences of an episode, and whether one of them is another at a later step."""
        words = [self._schema.words(values, key) for key in self._sentences]
        return [w[0] if w else "" for w in words], any(len(set(w)) > 1 for w in words)

    def _facts(self, values: Values) -> dict[str, str | int | float | bool]:
        facts: dict[str, str | int | float | bool] = {}
        if self._success:
            text = self._schema.words(values, self._success["key"])[0]
            facts["recording"] = text
            succeeded, failed = (self._success[name] in text for name in ("succeeded", "failed"))
            if succeeded == failed:
                raise DatasetError(f"{self._success['key']} is {text!r}, which does not say whether the trial succeeded.")
            facts["success"] = succeeded
        return facts

    def _read(self, episode: SourceEpisode) -> Values:
        path, place, length = episode.about
        if self._schema.file_format == ARRAY_RECORD:
            return read_array_record(Path(path), place)
        return read_record(Path(path), place, length)

    def _picture_size(self, key: str) -> tuple[int, int]:
        """Height and width, by the schema, or by the first picture where it leaves them open."""
        feature = self._schema.feature(key)
        if feature.kind != "image":
            raise ConfigurationError(f"The feature {key!r} is {feature.words}, and no picture.")
        if len(feature.shape) == 3 and feature.shape[0] and feature.shape[1]:
            return feature.shape[0], feature.shape[1]

        def size(episode: SourceEpisode) -> tuple[int, int]:
            require_listed(episode)
            values = self._read(episode)
            height, width, _ = decode_picture(self._schema.pictures(values, key, self._schema.length(values))[0]).shape
            return height, width

        return first_readable((e for shard in self._shards for e in self._listed(shard)), size)[1]

    def _listed(self, shard: Shard) -> list[SourceEpisode]:
        def episodes() -> Iterator[SourceEpisode]:
            for i, span in enumerate(_spans(shard, self._schema.file_format)):
                yield SourceEpisode(f"{shard.path.name}/{i}", about=(str(shard.path), *span))

        return listed(shard.path.name, None, episodes)


def _spans(shard: Shard, file_format: str) -> list[tuple[int, int]]:
    """Where the records of a file are; raises :class:`DatasetError` where there are more or fewer than it is said."""
    if not shard.path.is_file():
        raise DatasetError(f"{shard.path} is missing, and {INFO} names it. Fetch it.")
    spans = list(array_record_spans(shard.path) if file_format == ARRAY_RECORD else record_spans(shard.path))
    if shard.episodes is not None and len(spans) != shard.episodes:
        raise DatasetError(f"{shard.path} has {len(spans)} records, and {INFO} says {shard.episodes}. Fetch it again.")
    return spans
