"""zarr importer: whole datasets in one store, by a layout that states what the numbers mean."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from forehand.data.importing.faults import first_readable
from forehand.data.importing.importer import EpisodeContent, Importer, Picture, SourceEpisode
from forehand.data.importing.statements import Statements
from forehand.errors import ConfigurationError, DatasetError
from forehand_plugins.importers.layouts.columns import CameraColumn
from forehand_plugins.importers.layouts.layout import read_layout
from forehand_plugins.importers.zarr.store import EpisodeStore, register_picture_codecs

PRESETS = Path(__file__).parent / "layouts"

_ASKED = {
    "instruction": ("the sentence of all episodes, or ''", None),
    "action_ahead": ("how many rows later the action of a row is found; 0 where it stands beside it", None),
}


class ZarrImporter(Importer):
    """The store ``source``, a folder or a zip file.

    layout: a preset (``pusht``, ``umi``) or a YAML file; cameras, state, action, rate, instruction and action_ahead
    replace its entries. data: the group with the arrays; episode_ends: the array of ends, excluded. missing_chunks:
    ``stop``, or ``fill``: take chunks that are not there as zarr does.
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
        action_ahead: int | None = None,
        data: str = "data",
        episode_ends: str = "meta/episode_ends",
        missing_chunks: str = "stop",
    ) -> None:
        register_picture_codecs()
        self.statements = statements = Statements("zarr")
        statements.ask("missing_chunks", missing_chunks, "what chunks that are not there mean", ("stop", "fill"))
        self._store = store = EpisodeStore(source, data, episode_ends, missing_chunks == "fill")
        options = {"cameras": cameras, "state": state, "action": action, "rate": rate, "instruction": instruction}
        try:
            self._layout = read_layout(
                statements, layout, PRESETS, options | {"action_ahead": action_ahead}, _ASKED, ("robot",)
            )
        except ConfigurationError as error:
            raise ConfigurationError(f"{error}\nThe store has {store.listing()}.") from error
        self._ahead, self.robot = int(self._layout.more["action_ahead"]), self._layout.more["robot"]
        if self._ahead < 0:
            raise ConfigurationError(f"action_ahead is {self._ahead}; an action follows the observation it answers.")
        keys = [*self._layout.columns(), *(camera.key for camera in self._layout.cameras)]
        if behind := store.behind(keys):
            statements.know("rows behind the last episode", behind, episode_ends)
        statements.know("episodes", f"end before the rows in {episode_ends}", "definition of the format")
        given = {name for name, entry in (cameras or {}).items() if isinstance(entry, Mapping) and "white" in entry}
        whites = [self._with_white(camera, camera.name in given) for camera in self._layout.cameras]
        self._layout = replace(self._layout, cameras=tuple(whites))
        self.orientation = self._layout.orientation
        self.contract = self._layout.contract(self._picture_size, self._size)

    def episodes(self) -> Sequence[SourceEpisode]:
        """See :meth:`Importer.episodes`."""
        ends = [int(end) for end in self._store.ends]
        spans = zip([0, *ends], ends, strict=False)
        return [SourceEpisode(f"{i:06d}", end - first, (first, end)) for i, (first, end) in enumerate(spans)]

    def files(self) -> Sequence[Path]:
        """See :meth:`Importer.files`."""
        return self._store.files()

    def read(self, episode: SourceEpisode) -> EpisodeContent:
        """See :meth:`Importer.read`."""
        first, end = episode.about
        numbers = {key: self._store.numbers(key, first, end) for key in self._layout.columns()}
        pictures = {camera.name: self._pictures(camera, first, end) for camera in self._layout.cameras}
        skipped = {"no action follows": min(self._ahead, end - first)} if self._ahead else {}
        steps = self._layout.steps(numbers, pictures, ahead=self._ahead)
        return EpisodeContent(steps, self._layout.more["instruction"], {"first_row": first}, skipped)

    def close(self) -> None:
        """See :meth:`Importer.close`."""
        self._store.close()

    def _with_white(self, camera: CameraColumn, stated: bool) -> CameraColumn:
        """``camera``, of floats from 0 to 1 with 1 as white unless an option states another; of the first episode.

        Those of other episodes that are brighter are refused when they are read.
        """
        if stated or camera.white == 1 or self._store.array(camera.key).dtype.kind != "f":
            return camera

        def brightest(episode: SourceEpisode) -> float:
            return max(float(picture.max()) for picture in self._store.rows(camera.key, *episode.about))

        episode, largest = first_readable(self.episodes(), brightest)
        if not 0 < largest <= 1:
            return camera
        reason = f"its numbers are of a floating type, and episode {episode.id} has none above {largest:g}"
        return replace(camera, white=float(self.statements.assume(f"cameras.{camera.name}.white", 1, reason)))

    def _pictures(self, camera: CameraColumn, first: int, end: int) -> Iterator[Picture]:
        for picture in self._store.rows(camera.key, first, end):
            yield camera.pixels(picture)

    def _picture_size(self, key: str) -> tuple[int, int]:
        shape = self._store.array(key).shape
        if len(shape) != 4 or shape[3] != 3:
            raise DatasetError(f"The array {key!r} is {shape}; pictures are (N, H, W, 3).")
        return int(shape[1]), int(shape[2])

    def _size(self, key: str) -> int:
        shape = self._store.array(key).shape
        return int(shape[1]) if len(shape) == 2 else 1 if len(shape) == 1 else _refuse(key, shape)


def _refuse(key: str, shape: Sequence[int]) -> int:
    raise DatasetError(f"The array {key!r} is {tuple(shape)}; numbers are (N, S) or (N,).")
