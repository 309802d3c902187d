"""Dataset checker: all checks of one dataset, as a report that is given also where the dataset is damaged."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from forehand.data.checking.alignment import check_alignment
from forehand.data.checking.contracts import check_against_info, check_stated, check_totals
from forehand.data.checking.episodes import check_episodes
from forehand.data.checking.findings import ERROR, Finding, by_severity, count_severities, finding
from forehand.data.checking.images import check_images, sample_episodes
from forehand.data.checking.motion import check_motion, still_frames
from forehand.data.checking.partial_reading import read_partially, read_times
from forehand.data.checking.stored_statistics import check_stored_statistics, table_statistics
from forehand.data.checking.table import ACTION, STATE, Element, FrameTable, elements_of, frame_table
from forehand.data.checking.timing import check_timing
from forehand.data.checking.values import check_values
from forehand.data.checking.videos import check_videos
from forehand.data.episode_table import EpisodeTable
from forehand.data.features import ACTION_KEY, INFO_FILE, STATE_KEY, flat_names, read_contract, read_info
from forehand.data.labels import describe_origins, origin_facts
from forehand.data.lerobot.formats import open_layout
from forehand.data.source import DataSource, WrappedSource
from forehand.data.specification import DEFAULT_FORMAT, SourceSpec
from forehand.errors import BrokenPlugin, ConfigurationError, DatasetError, ForehandError, UnknownName, describe
from forehand.utils.progress import progress

ALL, SAMPLE, NONE = "all", "sample", "none"
VIDEOS = (ALL, SAMPLE, NONE)
"""Which images are decoded."""

SAMPLED_EPISODES = 8


@dataclass(frozen=True, eq=False)
class Report:
    """Result of checking one dataset.

    name: what it was given as; source and table: None where they could not be read; statistics: by element; decoded:
    episodes whose images were decoded; origins: how many actions were recorded and how many labelled, in words, "" where
    none was labelled; action_counts: the same as numbers.
    """

    name: str
    findings: Sequence[Finding]
    source: DataSource | None = None
    table: FrameTable | None = None
    statistics: Mapping[Element, Mapping[str, float]] = field(default_factory=dict)
    decoded: int = 0
    origins: str = ""
    action_counts: Mapping[str, int] = field(default_factory=dict)

    @property
    def counts(self) -> dict[str, int]:
        """The number of findings of each severity."""
        return count_severities(self.findings)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        table = self.table
        about: dict[str, Any] = {"dataset": self.name} | {f"{name}s": count for name, count in self.counts.items()}
        if table is not None:
            about |= {
                "episodes": len(table.numbers),
                "frames": len(table),
                "rate": table.rate,
                "cameras": [camera.name for camera in table.contract.cameras],
                "instructions": len(table.tasks),
                "episodes_decoded": self.decoded,
                **self.action_counts,
            }
        statistics = {e.name: {"unit": e.field.unit, **values} for e, values in self.statistics.items()}
        return about | {"findings": [one.to_dict() for one in self.findings], "statistics": statistics}


def check_dataset(name: str, spec: SourceSpec | DataSource, videos: str = SAMPLE, seed: int = 0) -> Report:
    """The report of one dataset; what is wrong with it is a finding, and raises nothing.

    name: what it is called in the report. videos: one of :data:`VIDEOS`; a sample is of :data:`SAMPLED_EPISODES`
    episodes, drawn by ``seed``. Raises :class:`ConfigurationError` for other words, and for options that no source takes.
    """
    if videos not in VIDEOS:
        raise ConfigurationError(f"videos is one of {', '.join(VIDEOS)}, not {videos!r}.")
    findings: list[Finding] = []
    source = _open(spec, findings)
    episodes = None if source is None else _read(source, findings)
    folder = _folder(spec, source)
    table = None
    if source is not None and episodes is not None:
        table = _table(source, episodes, folder)
    elif folder is not None:
        table = _read_partially(folder, findings)
    if table is None:
        return Report(name, by_severity(findings), source)
    still = still_frames(table)
    statistics = table_statistics(table)
    for check in (check_values, check_timing, check_alignment, check_episodes):
        findings += check(table)
    findings += check_motion(table, still)
    findings += check_stated(table.contract)
    if folder is not None:
        findings += check_against_info(folder.root, table.contract, folder.info)
        findings += check_totals(table, folder.info)
        with _noted(findings):
            findings += check_stored_statistics(open_layout(folder.root, folder.info), table, statistics)
    decoded = 0
    if source is not None and episodes is not None and videos != NONE:
        decoded = _check_images(source, table, still, None if videos == ALL else seed, findings)
    origins = ("", {}) if episodes is None else (describe_origins(episodes), origin_facts(episodes))
    return Report(name, by_severity(findings), source, table, statistics, decoded, *origins)


@dataclass(frozen=True)
class _Folder:
    """A LeRobotDataset on disk, of which nothing is left out or renamed: its folder, and ``meta/info.json``."""

    root: Path
    info: Mapping[str, Any]


def _open(spec: SourceSpec | DataSource, findings: list[Finding]) -> DataSource | None:
    if isinstance(spec, DataSource):
        return spec
    with _noted(findings):
        return spec.open()
    return None


def _read(source: DataSource, findings: list[Finding]) -> EpisodeTable | None:
    with _noted(findings):
        return source.episodes
    return None


@contextmanager
def _noted(findings: list[Finding]) -> Iterator[None]:
    """Turn what a source raises into a finding, so that the other checks and datasets have their turn."""
    try:
        yield
    except (ConfigurationError, UnknownName, BrokenPlugin):  # of what was written, and not of the dataset
        raise
    except ForehandError as error:
        findings.append(finding("unreadable", ERROR, describe(error)))
    except Exception as error:
        words = f"reading it failed with {describe(error)}"
        findings.append(finding("unreadable", ERROR, words, "This is a fault of its reader: please report it."))


def _folder(spec: SourceSpec | DataSource, source: DataSource | None) -> _Folder | None:
    if source is not None:
        root = None if isinstance(source, WrappedSource) else source.root
    else:
        path = spec.options.get("path") if isinstance(spec, SourceSpec) and spec.name == DEFAULT_FORMAT else None
        root = None if path is None else Path(path).expanduser()
    if root is None or not (root / INFO_FILE).is_file():
        return None
    try:
        return _Folder(root, read_info(root))
    except DatasetError:
        return None


def _table(source: DataSource, episodes: EpisodeTable, folder: _Folder | None) -> FrameTable:
    elements = elements_of(source.contract, _names(folder))
    return frame_table(episodes, source.contract, elements, read_times(folder.root, len(episodes)) if folder else None)


def _read_partially(folder: _Folder, findings: list[Finding]) -> FrameTable | None:
    try:
        contract = read_contract(folder.root)
    except (ForehandError, KeyError, ValueError):  # said already
        return None
    table, more = read_partially(folder.root, contract)
    findings += more
    return table


def _names(folder: _Folder | None) -> dict[str, list[str]]:
    """What a LeRobotDataset calls the elements of state and action."""
    features = {} if folder is None else folder.info["features"]
    keys = {STATE: STATE_KEY, ACTION: ACTION_KEY}
    return {vector: list(flat_names(features[key].get("names"))) for vector, key in keys.items() if key in features}


def _check_images(
    source: DataSource, table: FrameTable, still: NDArray[np.bool_], seed: int | None, findings: list[Finding]
) -> int:
    """Check the images of all episodes, or of a sample that ``seed`` draws; returns of how many episodes."""
    count = len(table.numbers) if seed is None else SAMPLED_EPISODES
    episodes = sample_episodes(table, count, seed or 0)
    total = int(table.lengths[episodes].sum()) * len(source.contract.cameras)
    with _noted(findings):
        findings += check_videos(source, table)
    with progress("decoding images", total, transient=True) as show, _noted(findings):
        findings += check_images(source, table, still, episodes, show)
    return len(episodes)
