"""Closed-loop evaluation while a training runs: ``forehand eval`` judges checkpoints in a process of its own."""

from __future__ import annotations

import logging
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from forehand.errors import ForehandError
from forehand.evaluation.results import Evaluation, read_record
from forehand.learning.callbacks.callback import TrainingCallback, TrainingRun
from forehand.learning.checkpoint import step_folder
from forehand.learning.training_state import TRAINING_STATE
from forehand.utils.files import link_or_copy, replacing

log = logging.getLogger(__name__)

EVALUATIONS, BEST = "evaluations", "best"
CHECKPOINT, RESULTS, FINISHED, LOG, PROCESS = "checkpoint", "evaluation", "finished", "eval.log", "process"
POLITE = 10
"""How much lower the priority of an evaluation is than that of the training (nice)."""


class ClosedLoopEvaluation(TrainingCallback):
    """Success rates of checkpoints, measured beside the training, which does not wait.

    Every ``every`` steps, and at the last one, a checkpoint is saved, linked into ``evaluations/step_<n>/checkpoint`` of
    the run's folder, and judged there by ``forehand eval``, one after the other. Metrics come into the log as soon as
    they are known: ``evaluation/step``, ``/success_rate``, ``/low``, ``/high`` (Wilson 95 %) and ``/n``. The link
    ``best`` is the checkpoint with the highest rate, the earliest of several; it is kept, without the optimizer's state.
    The training ends when all are judged; interrupted, it continues them when it is resumed. An evaluation that fails is
    logged.

    options: of ``forehand eval``, such as ``benchmark=tabletop`` and ``episodes=20``. program: what runs ``forehand``.
    """

    def __init__(
        self,
        every: int,
        options: Sequence[str] = (),
        *,
        program: Sequence[str] = (sys.executable, "-m", "forehand_apps"),
    ) -> None:
        self.every, self._options, self._program = every, list(options), list(program)
        self._waiting: list[Path] = []
        self._running: tuple[Path, subprocess.Popen[bytes]] | None = None
        self._best: tuple[float, Path] | None = None

    def _due(self, run: TrainingRun) -> bool:
        return run.step > 0 and (run.step % self.every == 0 or run.step == run.recipe.steps)

    def on_start(self, run: TrainingRun) -> None:
        """Continue what was begun up to this step, and remove what was begun behind it."""
        if not run.is_main:
            return
        for folder in _folders(run.folder):
            _end_left_over(folder)
            if int(folder.name.removeprefix("step_")) > run.step:
                shutil.rmtree(folder)
            elif (folder / FINISHED).exists():
                self._consider(run, folder, read_record(folder / RESULTS).evaluation)
            elif (folder / CHECKPOINT).exists():
                self._waiting.append(folder)
        if self._due(run) and (checkpoint := step_folder(run.folder, run.step)).exists():
            self.on_saved(run, checkpoint)

    def on_step(self, run: TrainingRun) -> None:
        """Collect what has ended, begin what waits, and ask for a checkpoint where one is due."""
        if run.is_main:
            self._poll(run)
        if self._due(run):
            run.request_save()

    def on_saved(self, run: TrainingRun, checkpoint: Path) -> None:
        """Judge a checkpoint that is due."""
        folder = run.folder / EVALUATIONS / checkpoint.name
        if self._due(run) and not folder.exists():
            _link(checkpoint, folder / CHECKPOINT)
            self._waiting.append(folder)
            self._poll(run)

    def on_stop(self, run: TrainingRun) -> None:
        """Wait for what is left, unless the training was interrupted."""
        while run.is_main and not run.interrupted and (self._running or self._waiting):
            self._poll(run, stopping=True)
            if self._running is not None:
                log.info("waiting for the evaluation of %s, and %s more", self._running[0].name, len(self._waiting))
                self._running[1].wait()

    def close(self) -> None:
        """End an evaluation that runs; what it has done is kept."""
        if self._running is not None:
            folder, process = self._running
            process.terminate()
            process.wait()
            (folder / PROCESS).unlink()
            self._running = None

    def _poll(self, run: TrainingRun, *, stopping: bool = False) -> None:
        if self._running is not None:
            folder, process = self._running
            if process.poll() is None:
                return
            self._running = None
            (folder / PROCESS).unlink()
            if metrics := self._collect(run, folder, process.returncode):
                (run.log_metrics if stopping else run.add_metrics)(metrics)
        if self._waiting:
            folder = self._waiting.pop(0)
            self._running = folder, self._begin(folder)

    def _begin(self, folder: Path) -> subprocess.Popen[bytes]:
        places = [f"policy.checkpoint={folder / CHECKPOINT}", f"output={folder / RESULTS}"]
        with (folder / LOG).open("ab") as said:
            process = subprocess.Popen(
                [*self._program, "eval", *self._options, *places],
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
                start_new_session=True,  # a Ctrl-C is for the training, which ends it
            )
            (folder / PROCESS).write_text(str(process.pid), encoding="utf-8")
            if hasattr(os, "setpriority"):
                os.setpriority(os.PRIO_PROCESS, process.pid, POLITE)
            return process

    def _collect(self, run: TrainingRun, folder: Path, status: int) -> dict[str, Any]:
        """The metrics of an evaluation that has ended with ``status``; {} where it failed."""
        try:
            evaluation = read_record(folder / RESULTS).evaluation if status == 0 else None
        except ForehandError as error:
            log.warning("%s", error)
            evaluation = None
        if evaluation is None:
            log.warning("The evaluation of %s failed; training continues. See %s.", folder.name, folder / LOG)
            shutil.rmtree(folder / CHECKPOINT)
            return {}
        (folder / FINISHED).touch()
        low, high = evaluation.total.interval
        self._consider(run, folder, evaluation)
        return {
            "evaluation/step": int(folder.name.removeprefix("step_")),
            "evaluation/success_rate": evaluation.total.rate,
            "evaluation/low": low,
            "evaluation/high": high,
            "evaluation/n": evaluation.total.n,
        }

    def _consider(self, run: TrainingRun, folder: Path, evaluation: Evaluation) -> None:
        """Keep the checkpoint in ``folder`` as the best one, or remove it."""
        rate = evaluation.total.rate
        worse: Path | None = folder
        if self._best is None or rate > self._best[0]:
            worse, self._best = self._best[1] if self._best else None, (rate, folder)
            with replacing(run.folder / BEST) as link:
                link.symlink_to(Path(EVALUATIONS) / folder.name / CHECKPOINT)
        if worse is not None and (worse / CHECKPOINT).exists():
            shutil.rmtree(worse / CHECKPOINT)


def _folders(run: Path) -> list[Path]:
    """The folders of evaluations, by step."""
    return sorted(folder for folder in (run / EVALUATIONS).glob("step_*") if re.fullmatch(r"step_\d+", folder.name))


def _end_left_over(folder: Path) -> None:
    """End the evaluation of a training that was killed, so that it can be continued; on Linux."""
    try:
        number = int((folder / PROCESS).read_text(encoding="utf-8"))
        command = Path(f"/proc/{number}/cmdline")
        while f"output={folder / RESULTS}" in command.read_text(encoding="utf-8").split("\0"):
            os.kill(number, signal.SIGTERM)
            time.sleep(0.1)
    except (OSError, ValueError):  # there is none
        pass


def _link(checkpoint: Path, folder: Path) -> None:
    """A checkpoint in another place that takes no space as long as the first is there."""
    shutil.copytree(checkpoint, folder, copy_function=link_or_copy, ignore=shutil.ignore_patterns(TRAINING_STATE))
