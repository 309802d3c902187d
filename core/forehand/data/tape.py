"""Recording what a driven robot sees and does as a LeRobotDataset, beside the control loop.

An episode is safe once it has ended, whatever happens to the run. Steps in which the robot held are left out: nothing was
commanded that could be learned. Each episode notes its ``outcome`` (success, failure or unknown), its ``ending``, and how
many steps were ``held``.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import av

from forehand.contract import Contract
from forehand.data.assembly import assemble, check_fit, finished, recording
from forehand.data.recorder import Recorder
from forehand.data.video import Encoding
from forehand.errors import DatasetError
from forehand.rollout import Moment
from forehand.running.watching import Beside, Watcher

OUTCOMES = {True: "success", False: "failure", None: "unknown"}


class Tape(Watcher):
    """Records every episode it sees with ``recorder``; raises :class:`DatasetError` if the disk does not take it."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._instruction = ""
        self._held = 0

    def begin(self, episode: int, instruction: str) -> None:
        """Nothing is written before the first command."""
        self._recorder.discard()
        self._instruction, self._held = instruction, 0

    def watch(self, moment: Moment) -> None:
        """Write one frame: what was seen, and what was commanded upon it."""
        if moment.action is None:
            self._held += 1
            return
        with self._told():
            self._recorder.add(moment.observation, moment.action)

    def end(self, ending: str, success: bool | None) -> None:
        """Keep the episode, unless nothing was done in it."""
        if not len(self._recorder):
            return
        taken = finished(self._recorder.root)
        index = next(i for i in count() if i not in taken)
        held = max(0, self._held - (ending != "failed"))  # the last moment of an episode has no command
        with self._told():
            self._recorder.save(index, self._instruction, outcome=OUTCOMES[success], ending=ending, held=held)

    def close(self) -> None:
        """Drop an episode that never ended."""
        self._recorder.discard()

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except (OSError, av.FFmpegError) as error:
            raise DatasetError(
                f"Recording to {self._recorder.root.absolute()} failed: {error}. Every finished episode is kept; make "
                f"room, or record somewhere else (record=…)."
            ) from error


@contextmanager
def taping(root: Path, contract: Contract, robot: str, encoding: Encoding | None = None) -> Iterator[Watcher]:
    """A watcher that records a robot of ``contract`` to the dataset at ``root``, new or to be gone on with.

    At the end the finished episodes become part of the dataset; after a crash, the next recording there sees to it.
    """
    with recording(root):
        check_fit(root, contract)
        tape = Beside(Tape(Recorder(root, contract, encoding)), "the recorder")
        try:
            yield tape
        finally:
            tape.close()
            assemble(root, robot)
