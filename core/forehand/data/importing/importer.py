"""Importer interface: the episodes of a source in another format, one at a time. No torch.

An importer is a part of the kind ``importer``: made from ``source=…`` and options of its own, in every worker process
anew. It reads; turning, encoding, numbering, resuming and reporting are done here for all formats alike.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from forehand.contracts.contract import Contract
from forehand.data.importing.statements import Statements
from forehand.errors import DatasetError

Picture = NDArray[np.uint8] | bytes
"""(H, W, 3) RGB, or the JPEG or PNG file that the source holds."""


class EpisodeDropped(DatasetError):
    """An episode is left out on purpose, for a reason that the message states, such as a failed trial."""


@dataclass(frozen=True)
class SourceEpisode:
    """One episode of a source.

    id: what names it there, unique and the same on every machine, such as ``task_demo.hdf5/demo_3``. length: its frames,
    where they are known before it is read. about: whatever the importer needs to find it again, in picklable form. fault:
    why it cannot be read, where listing it has shown so; it is never read then
    (:func:`~forehand.data.importing.faults.listed`).
    """

    id: str
    length: int | None = None
    about: Any = None
    fault: str | None = None


@dataclass(frozen=True)
class Step:
    """One control step: what was observed, and then the action that answers it.

    images: camera → picture as the source holds it, before it is turned upright; state: (S,); action: (A,); sensors: as
    in :class:`forehand.robot.Observation`; annotations: words about this frame, each of which becomes a column.
    """

    images: Mapping[str, Picture]
    state: NDArray[Any]
    action: NDArray[Any]
    sensors: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class EpisodeContent:
    """The content of one episode.

    steps: read as they are needed. instruction: "" where nothing was said. facts: noted in the table of episodes, such
    as ``{"success": True}``. skipped: why → how many frames of the source are left out of ``steps``.
    """

    steps: Iterable[Step]
    instruction: str = ""
    facts: Mapping[str, str | int | float | bool] = field(default_factory=dict)
    skipped: Mapping[str, int] = field(default_factory=dict)


class Importer(ABC):
    """Reader of one source.

    contract: of what is written, with units, frames and senses. statements: where each of them comes from; what the
    source does not say must be given as an option (:class:`~forehand.data.importing.statements.Statements`).
    orientation: camera → how its pictures lie in the source (:data:`~forehand.contracts.orientation.ORIENTATIONS`);
    upright where it is not named. robot: the dataset's robot type. dropped: id of an episode → why it is left out, as far
    as that is known before reading. licence: of the source, as the hub names it.
    """

    contract: Contract
    statements: Statements
    orientation: Mapping[str, str] = {}
    robot: str | None = None
    dropped: Mapping[str, str] = {}
    licence: str | None = None

    @abstractmethod
    def episodes(self) -> Sequence[SourceEpisode]:
        """All episodes but the dropped ones, in an order that is the same on every machine."""

    @abstractmethod
    def read(self, episode: SourceEpisode) -> EpisodeContent:
        """The content of ``episode``.

        Raises :class:`EpisodeDropped` for one that is left out, and :class:`DatasetError`, which names the file, for one
        that is damaged; both also while its steps are read.
        """

    @abstractmethod
    def files(self) -> Sequence[Path]:
        """The files that identify the source's content, hashed for the record: all of them, or where there are too many
        the indices and a sample."""

    def close(self) -> None:  # noqa: B027  (most have nothing to close)
        """Close what is open; called once."""
