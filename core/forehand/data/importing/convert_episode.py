"""Conversion of one episode: from an importer's steps to a recorded episode; the work of one process."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from forehand.contracts.contract import Contract
from forehand.data.importing.faults import EpisodeDamaged, ReadingPlace, require_listed
from forehand.data.importing.importer import EpisodeContent, EpisodeDropped, Importer, SourceEpisode, Step
from forehand.data.importing.job import DROP, IMAGES, ImportJob
from forehand.data.importing.ledger import Ledger, Outcome
from forehand.data.importing.pictures import kept_file, upright
from forehand.data.recording.recorder import Recorder
from forehand.errors import ContractMismatch, DatasetError, ForehandError, NotFinite
from forehand.robot import Observation
from forehand.utils.process_pool import Worker

_TOLERANCE = 1e-3

Task = tuple[int, SourceEpisode]
"""The position of an episode in its shard, and the episode."""

SOURCE_FACT = "source"
"""The fact that names an episode's place in its source."""


class ImportFailed(ForehandError):
    """An episode could not be imported; those that were finished are kept, and the same command continues."""


class EpisodeConverter(Worker[Task, Outcome]):
    """Worker that imports episodes of ``job``, with an importer of its own."""

    stage = "The source could not be opened"

    def __init__(self, job: ImportJob) -> None:
        self._job = job
        self._importer: Importer | None = None

    def start(self) -> None:
        """Open the source."""
        self._importer = self._job.open()
        self._recorder = Recorder(
            self._job.root, self._importer.contract, self._job.encoding, images=self._job.pictures == IMAGES
        )
        self._ledger = Ledger(self._job.root)

    def work(self, task: Task, stop: Callable[[], bool]) -> Outcome | None:
        """Import one episode; None where it was interrupted."""
        position, episode = task
        self.stage = "Importing stopped"
        try:
            outcome = self._convert(position, episode)
        except EpisodeDropped as reason:
            outcome = Outcome(position, episode.id, dropped=str(reason))
        except EpisodeDamaged as error:
            if self._job.damaged != DROP:
                raise
            outcome = Outcome(position, episode.id, dropped=f"damaged: {error.reason}")
        finally:
            self._recorder.discard()
        if outcome.dropped is not None:
            self._ledger.write(outcome)
        return outcome

    def close(self) -> None:
        """Close the source."""
        if self._importer is not None:
            self._importer.close()

    def _convert(self, position: int, episode: SourceEpisode) -> Outcome:
        assert self._importer is not None
        require_listed(episode)
        place = ReadingPlace(episode.id)
        with place.explained():
            content = self._importer.read(episode)
        for observation, action, step, files in self._frames(content, place):
            with place.explained(ContractMismatch, NotFinite):  # of the frame; what cannot be written is no fault of it
                self._recorder.add(observation, action, step.annotations, files)
        if not len(self._recorder):
            raise EpisodeDropped("no frame of it is left" if content.skipped else "it has no frames")
        outcome = Outcome(position, episode.id, frames=len(self._recorder), skipped=dict(content.skipped))
        self._ledger.write(outcome)
        self._recorder.save(position, content.instruction, **{**content.facts, SOURCE_FACT: episode.id})
        return outcome

    def _frames(
        self, content: EpisodeContent, place: ReadingPlace
    ) -> Iterator[tuple[Observation, NDArray[np.float32], Step, dict[str, bytes]]]:
        """Each step as it is recorded: what was observed, the action, the step itself, and files that are kept."""
        assert self._importer is not None
        place.step, steps = 0, iter(content.steps)
        while True:
            with place.explained(), np.errstate(over="ignore"):  # infinite numbers are refused by name
                if (step := next(steps, None)) is None:
                    return
                action = np.asarray(step.action, np.float32)
                require_in_range(action, self._importer.contract)
                observation = self._observation(step)  # which also finds out whether its pictures can be decoded
                files = self._files(step)
            yield observation, action, step, files
            place.step += 1

    def _files(self, step: Step) -> dict[str, bytes]:
        """The pictures that may be kept as they are."""
        assert self._importer is not None
        if self._job.pictures != IMAGES:
            return {}
        turns = self._importer.orientation
        kept = {name: kept_file(picture, turns.get(name, "upright")) for name, picture in step.images.items()}
        return {name: file for name, file in kept.items() if file is not None}

    def _observation(self, step: Step) -> Observation:
        assert self._importer is not None
        turns = self._importer.orientation
        images = {
            camera.name: upright(step.images[camera.name], turns.get(camera.name, "upright"))
            for camera in self._importer.contract.cameras
            if camera.name in step.images
        }
        time = len(self._recorder) / self._importer.contract.rate
        return Observation(images, np.asarray(step.state, np.float32), time, sensors=step.sensors)


def require_in_range(action: NDArray[np.float32], contract: Contract) -> None:
    """Raise :class:`DatasetError` for an action (A,) outside the range that ``contract`` states."""
    first = 0
    for field in contract.action:
        values, first = action[first : first + field.size], first + field.size
        if field.low is None or field.high is None or len(values) != field.size:
            continue
        outside = (values < np.array(field.low) - _TOLERANCE) | (values > np.array(field.high) + _TOLERANCE)
        if outside.any():
            raise DatasetError(
                f"The action's {field.name} is {values[outside][0]:g}, and its range is stated as {field.low[0]:g} to "
                f"{field.high[0]:g} {field.unit or ''}. The source has another scale or sense than that."
            )
