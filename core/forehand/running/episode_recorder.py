"""Episode recorder for control loops: observations and actions as a LeRobotDataset, in the background.

An episode is safe once it has ended, whatever happens to the run. Steps in which the robot held are left out: nothing was
commanded that could be learned. Each episode notes its ``outcome`` (success, failure or unknown), its ``ending``, and how
many steps were ``held``.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from itertools import count
from pathlib import Path

import av

from forehand.contracts.contract import Contract
from forehand.data.recording.commit import commit_episodes, finished_episodes, recording_lock, require_same_contract
from forehand.data.recording.recorder import Recorder
from forehand.errors import DatasetError, afterwards
from forehand.running.control_step import Step
from forehand.running.observers import BackgroundObserver, StepObserver
from forehand.utils.video import Encoding

OUTCOMES = {True: "success", False: "failure", None: "unknown"}


class EpisodeRecorder(StepObserver):
    """Records every episode with ``recorder``; raises :class:`DatasetError` if it cannot be written."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._instruction = ""
        self._held = 0

    def on_episode_start(self, episode: int, instruction: str) -> None:
        """Nothing is written before the first command."""
        self._recorder.discard()
        self._instruction, self._held = instruction, 0

    def on_step(self, step: Step) -> None:
        """Write one frame: what was seen, and what was commanded upon it."""
        if step.action is None:
            self._held += 1
            return
        with self._disk_errors():
            self._recorder.add(step.observation, step.action)

    def on_episode_end(self, ending: str, success: bool | None) -> None:
        """Keep the episode, unless nothing was done in it."""
        if not len(self._recorder):
            return
        taken = finished_episodes(self._recorder.root)
        index = next(i for i in count() if i not in taken)
        held = max(0, self._held - (ending != "failed"))  # the last moment of an episode has no command
        with self._disk_errors():
            self._recorder.save(index, self._instruction, outcome=OUTCOMES[success], ending=ending, held=held)

    def close(self) -> None:
        """Drop an episode that never ended."""
        self._recorder.discard()

    @contextmanager
    def _disk_errors(self) -> Iterator[None]:
        try:
            yield
        except (OSError, av.FFmpegError) as error:
            raise DatasetError(
                f"Recording to {self._recorder.root.absolute()} failed: {error}. Every finished episode is kept; make "
                f"room, or record somewhere else (record_to=…)."
            ) from error


@contextmanager
def record_episodes(
    root: Path, contract: Contract, robot: str, encoding: Encoding | None = None
) -> Iterator[StepObserver]:
    """An observer that records a robot of ``contract`` to the dataset at ``root``, new or to be continued.

    The finished episodes are committed to the dataset at the end; after a crash, by the next recording there.
    """
    with recording_lock(root):
        require_same_contract(root, contract)
        recorder = BackgroundObserver(EpisodeRecorder(Recorder(root, contract, encoding)), "the recorder")
        with afterwards(partial(commit_episodes, root, robot)), afterwards(recorder.close):
            yield recorder
