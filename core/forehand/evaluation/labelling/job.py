"""Labelling of a dataset: in parallel, resumable at any moment, whole or in shards that can be merged."""

from __future__ import annotations

import functools
import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from forehand.data.features import INFO_FILE, read_mapping
from forehand.data.frame_store import FrameStore
from forehand.data.importing.job import Shard, differences_of
from forehand.data.labels import LABELS_FILE, RECOVERED
from forehand.data.lerobot.locate import fingerprint
from forehand.data.merging.labelled import EpisodeLabels, write_labelled
from forehand.data.merging.parts import OF_A_SHARD, Part, read_part
from forehand.data.recording.commit import recording_lock
from forehand.errors import ConfigurationError, DatasetError, ForehandError
from forehand.evaluation.labelling.estimates import FORMULA, Estimator, Model, r_squared
from forehand.evaluation.labelling.source import open_source, require_models
from forehand.evaluation.open_loop.scores import Scores, field_scores
from forehand.utils.files import replacing
from forehand.utils.plain import to_plain
from forehand.utils.process_pool import ProcessPool, Worker

FOLDER = ".labelling"
NOTE = f"{FOLDER}/job.json"

LoadModels = Callable[[], Sequence[Model]]
"""Loads the models, in each process anew; it is pickled for it."""


class LabellingFailed(ForehandError):
    """An episode could not be labelled; those that were finished are kept, and the same command continues."""


@dataclass(frozen=True)
class LabellingJob:
    """What is labelled, by what, and where to.

    source: a LeRobotDataset without actions, or one whose actions are replaced by those that are found, where ``replace``
    is set. load: its models. threads: of each process, None: PyTorch's choice. cache,
    frames: as for :class:`~forehand.data.windows.WindowDataset`.
    """

    source: Path
    output: Path
    load: LoadModels
    shard: Shard = field(default_factory=Shard)
    cache: str | None = None
    frames: FrameStore = field(default_factory=FrameStore)
    threads: int | None = None
    replace: bool = False

    @property
    def root(self) -> Path:
        """The folder that this shard is written to."""
        return self.shard.folder(self.output.expanduser())

    def file(self, position: int) -> Path:
        """Where the labels of an episode are kept until all are there."""
        return self.root / FOLDER / f"episode-{position:06d}.npz"


class Labelling:
    """One labelling that is under way: what there is to do, what is done, and the rest of the work.

    ::

        with opened_labelling(job) as running:
            for position in running.label(workers=4): ...
            record = running.commit()
    """

    def __init__(self, job: LabellingJob) -> None:
        self.job = job
        self.part: Part = read_part(job.source)
        self.models = job.load()
        require_models(self.models)
        self._data = open_source(self.part, self.models, job.replace)
        total = int(self.part.info["total_episodes"])
        self.episodes = job.shard.span(total)
        if not self.episodes:
            raise ConfigurationError(
                f"shard={job.shard} has no episode: {self.part.root} has {total}. Take fewer shards."
            )
        self.identity = to_plain(
            {
                "source": {"name": self.part.root.name, "fingerprint": fingerprint(self.part.root)},
                "models": [_about(model) for model in self.models],
                "confidence": FORMULA,
                "not_recovered": [
                    field.name
                    for field in self.models[0].contract.action
                    if r_squared(self.models, field.name) < RECOVERED
                ],
                "shard": str(job.shard),
            }
        )
        self.complete = False
        self._stop: Callable[[], None] = lambda: None

    @property
    def done(self) -> list[int]:
        """The episodes whose labels are kept already."""
        return [i for i in self.episodes if self.job.file(i).exists()]

    def begin(self) -> None:
        """Find out what was done before; raises :class:`DatasetError` where something else lies at the same place."""
        root = self.job.root
        if (root / INFO_FILE).exists():
            stated = read_mapping(root / LABELS_FILE)["labellings"] if (root / LABELS_FILE).exists() else []
            if len(stated) != 1:
                raise DatasetError(f"{root.absolute()} holds a dataset already. Label to another folder.")
            self._require_same({key: value for key, value in stated[0].items() if key not in OF_A_SHARD})
            self.complete = True
        elif (root / NOTE).exists():
            self._require_same(read_mapping(root / NOTE))
        else:
            (root / FOLDER).mkdir(parents=True, exist_ok=True)
            with replacing(root / NOTE) as staging:
                staging.write_text(json.dumps(self.identity, indent=2, ensure_ascii=False) + "\n")

    def label(self, workers: int) -> Iterator[int]:
        """Label what is missing, and yield the number of each episode once it is on disk, until :meth:`stop`."""
        if self.complete:
            return
        done = set(self.done)
        tasks = [i for i in self.episodes if i not in done]
        if not tasks:
            return
        # This decodes what workers then find decoded.
        estimator = Estimator(self.models, self._data, cache=self.job.cache, frames=self.job.frames)
        if workers == 1:
            stopped: list[bool] = []
            self._stop = functools.partial(stopped.append, True)
            for position in tasks:
                if stopped:
                    return
                _keep(self.job, estimator, position)
                yield position
            return
        with ProcessPool(_EpisodeLabeller(self.job), tasks, workers, error=LabellingFailed) as pool:
            self._stop = pool.stop
            yield from pool.results()

    def stop(self) -> None:
        """Start no new episode; those under way are finished."""
        self._stop()

    def commit(self) -> dict[str, Any]:
        """Put everything together as a dataset, all at once; returns the record of the labelling."""
        if self.complete:
            found: dict[str, Any] = read_mapping(self.job.root / LABELS_FILE)["labellings"][0]
            return found
        kept = {i: _read(self.job.file(i)) for i in self.episodes}
        confidence = np.concatenate([labels.confidence for labels in kept.values()])
        record = {
            **self.identity,
            "episodes": len(kept),
            "labelled": int((confidence > 0).sum()),
            "unknown": int((confidence == 0).sum()),
            **self._compared(kept),
        }
        span = None if self.job.shard.count == 1 else self.episodes
        part = Part(self.part.root, self.part.info, self.part.record, span=span)
        write_labelled(part, self.job.root, self.models[0].contract.action, kept.__getitem__, record)
        shutil.rmtree(self.job.root / FOLDER, ignore_errors=True)
        return record

    def _compared(self, kept: Mapping[int, EpisodeLabels]) -> dict[str, Any]:
        """How far labels are from recorded actions in whose place they are put; nothing where there are none."""
        if not self.part.contract.action:
            return {}
        table, contract, scores = self._data.episodes, self.models[0].contract, []
        for position, labels in kept.items():
            rows = slice(*table.starts[position : position + 2])
            known = (labels.confidence > 0) & table.recorded[rows]
            scores.append(Scores.of(contract, labels.actions[known], table.actions[rows][known]))
        found = field_scores(contract, Scores.total(scores))
        return {"replaced": [one.to_dict() for one in found]} if found else {}

    def _require_same(self, stated: Mapping[str, Any]) -> None:
        ours = self.identity if "shard" in stated else {k: v for k, v in self.identity.items() if k != "shard"}
        if lines := differences_of(stated, ours):
            raise DatasetError(
                f"{self.job.root.absolute()} holds another labelling:\n  " + "\n  ".join(lines) + "\nChoose a new folder."
            )


@contextmanager
def opened_labelling(job: LabellingJob) -> Iterator[Labelling]:
    """The labelling ``job`` with the exclusive right to write at its place, and what was done of it before."""
    running = Labelling(job)
    with recording_lock(job.root, NOTE):
        running.begin()
        yield running


class _EpisodeLabeller(Worker[int, int]):
    """Worker that labels episodes of ``job``, with models of its own."""

    stage = "The models could not be loaded"

    def __init__(self, job: LabellingJob) -> None:
        self._job = job

    def start(self) -> None:
        """Load the models and open the dataset."""
        if self._job.threads:
            torch.set_num_threads(self._job.threads)
        models = self._job.load()
        data = open_source(read_part(self._job.source), models, self._job.replace)
        self._estimator = Estimator(models, data, cache=self._job.cache, frames=self._job.frames)

    def work(self, task: int, stop: Callable[[], bool]) -> int | None:
        """Label one episode."""
        self.stage = f"Labelling stopped at episode {task}"
        _keep(self._job, self._estimator, task)
        return task


def _keep(job: LabellingJob, estimator: Estimator, position: int) -> None:
    labels = estimator.label(position)
    with replacing(job.file(position)) as staging, staging.open("wb") as file:
        np.savez(file, actions=labels.actions, confidence=labels.confidence)


def _read(path: Path) -> EpisodeLabels:
    with np.load(path) as stored:
        return EpisodeLabels(stored["actions"], stored["confidence"])


def _about(model: Model) -> dict[str, Any]:
    return {
        "checkpoint": model.name,
        "fingerprint": model.fingerprint,
        "r_squared": None if model.r_squared is None else dict(model.r_squared),
    }
