"""Import of a source into a LeRobotDataset: in parallel, resumable at any moment, with a record of what was left out."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from forehand.data.features import INFO_FILE, read_mapping
from forehand.data.importing.convert_episode import EpisodeConverter, ImportFailed, Task
from forehand.data.importing.faults import require_listed
from forehand.data.importing.importer import Importer, SourceEpisode
from forehand.data.importing.job import DROP, IMAGES, ImportJob
from forehand.data.importing.ledger import Ledger, Outcome, refuse_other_import
from forehand.data.importing.record import IMPORT_FILE, import_record, source_digest
from forehand.data.recording.commit import commit_episodes, recording_lock, require_same_contract
from forehand.data.recording.requirements import require_recordable
from forehand.data.recording.tables import write_json
from forehand.errors import ConfigurationError, DatasetError
from forehand.utils.files import replacing
from forehand.utils.process_pool import ProcessPool

Show = Callable[[Outcome], None]


class Import:
    """One import that is under way: what there is to do, what is done, and the rest of the work.

    ::

        with opened_import(job) as running:
            for outcome in running.convert(workers=4): ...
            running.commit(provenance())
    """

    def __init__(self, job: ImportJob, importer: Importer) -> None:
        self.job, self.importer = job, importer
        everything = importer.episodes()
        _check_ids(everything)
        span = job.shard.span(len(everything))
        self.total = len(everything)
        self.episodes: Sequence[SourceEpisode] = [everything[i] for i in span]
        self._ledger = Ledger(job.root)
        self._identity = job.identity(source_digest(importer.files()), importer.statements)
        self.outcomes: dict[int, Outcome] = {}
        self.complete = False
        self._stop: Callable[[], None] = lambda: None

    def begin(self) -> None:
        """Find out what was done before; raises :class:`DatasetError` where another import lies at the same place."""
        root, note = self.job.root, self.job.root / IMPORT_FILE
        if note.exists():
            refuse_other_import(root, read_mapping(note)["import"], self._identity)
            self.complete = True
            return
        if (root / INFO_FILE).exists():
            raise DatasetError(f"{root.absolute()} holds a dataset already. Import to another folder.")
        if not self.episodes and not self._may_be_empty:
            left_out = "".join(f"\n  {id}: {why}" for id, why in list(self.importer.dropped.items())[:5])
            raise DatasetError(
                f"There is nothing to import: there are no episodes in the source but {len(self.importer.dropped)} that "
                f"are left out.{left_out}"
            )
        if self.job.damaged != DROP:
            for episode in self.episodes:
                require_listed(episode)
        require_recordable(self.importer.contract, None if self.job.pictures == IMAGES else self.job.encoding)
        self._ledger.begin(self._identity)
        require_same_contract(root, self.importer.contract)
        self.outcomes = self._ledger.outcomes()

    def convert(self, workers: int) -> Iterator[Outcome]:
        """Import what is missing, and yield the outcome of each episode once it is on disk, until :meth:`stop`."""
        if self.complete:
            return
        missing = [(i, episode) for i, episode in enumerate(self.episodes) if i not in self.outcomes]
        for outcome in self._results(missing, workers):
            self.outcomes[outcome.position] = outcome
            yield outcome

    def stop(self) -> None:
        """Start no new episode; those under way are finished."""
        self._stop()

    def finished(self) -> bool:
        """Whether every episode was imported or dropped."""
        return len(self.outcomes) == len(self.episodes)

    def frames(self) -> tuple[int, int | None]:
        """Frames that are done, and all of them, None where that is not known before reading."""
        lengths = [episode.length for episode in self.episodes]
        known = [length for length in lengths if length is not None]
        done = [lengths[i] or 0 for i in self.outcomes]
        return sum(done), sum(known) if len(known) == len(lengths) else None

    def commit(self, provenance: Mapping[str, Any]) -> int:
        """Put the finished episodes together, all at once; returns how many the dataset then has.

        A shard may have none: it is the record alone.
        """
        if self.complete:
            return int(read_mapping(self.job.root / IMPORT_FILE)["episodes"])
        kept = [i for i, outcome in sorted(self.outcomes.items()) if outcome.dropped is None]
        if not kept and not self._may_be_empty:
            reasons = Counter(o.dropped for o in self.outcomes.values())
            listing = "\n".join(f"  {count} × {reason}" for reason, count in reasons.most_common(5))
            raise DatasetError(f"Every one of the {len(self.outcomes)} episodes was left out:\n{listing}")
        record = import_record(self._identity, self.importer, list(self.outcomes.values()), self.total, provenance)
        if not kept:
            path = self.job.root / IMPORT_FILE
            path.parent.mkdir(parents=True, exist_ok=True)
            with replacing(path) as staging:
                write_json(staging.parent, staging.name, record)
            return 0
        return commit_episodes(self.job.root, self.importer.robot, kept, {IMPORT_FILE: record})

    @property
    def _may_be_empty(self) -> bool:
        """Whether there may be no episodes: in a shard of a source that has some."""
        return self.job.shard.count > 1 and self.total > 0

    def _results(self, tasks: Sequence[Task], workers: int) -> Iterator[Outcome]:
        if workers < 1:
            raise ConfigurationError(f"workers must be at least 1, not {workers}.")
        if not tasks:
            return
        if workers == 1:
            yield from self._in_this_process(tasks)
            return
        with ProcessPool(EpisodeConverter(self.job), tasks, workers, error=ImportFailed) as pool:
            self._stop = pool.stop
            yield from pool.results()

    def _in_this_process(self, tasks: Sequence[Task]) -> Iterator[Outcome]:
        stopped: list[bool] = []
        self._stop = functools.partial(stopped.append, True)
        with closing(EpisodeConverter(self.job)) as worker:
            worker.start()
            for task in tasks:
                if stopped:
                    return
                if (outcome := worker.work(task, lambda: bool(stopped))) is not None:
                    yield outcome


@contextmanager
def opened_import(job: ImportJob) -> Iterator[Import]:
    """The import ``job`` with the exclusive right to write at its place, and what was done of it before."""
    with closing(job.open()) as importer, recording_lock(job.root, IMPORT_FILE):
        running = Import(job, importer)
        running.begin()
        yield running


def read_import_record(root: Path) -> dict[str, Any] | None:
    """The record of the import that wrote the dataset at ``root``, or None where none did."""
    path = root / IMPORT_FILE
    return read_mapping(path) if path.exists() else None


def _check_ids(episodes: Sequence[SourceEpisode]) -> None:
    counts = Counter(episode.id for episode in episodes)
    if twice := [id for id, count in counts.items() if count > 1]:
        raise DatasetError(f"The source has {len(twice)} episodes that share their name, {twice[0]!r} among them.")
