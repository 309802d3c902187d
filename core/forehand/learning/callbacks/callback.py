"""Training callback: what happens beside the steps of a training, such as logs, validation, averages of weights."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import nn

from forehand.learning.optimization.precision import Precision
from forehand.learning.recipe import Recipe


class TrainingRun(Protocol):
    """What a callback sees of the :class:`~forehand.learning.trainer.Trainer` that calls it.

    step: optimizer steps taken so far. interrupted: whether a signal ended the training before its last step.
    parameters: those that are trained, by name. precision: what is computed in which format. is_main: whether this
    process is the one that writes files and logs, of those that train together.
    """

    policy: Any
    recipe: Recipe
    folder: Path
    device: torch.device
    step: int
    interrupted: bool
    parameters: Mapping[str, nn.Parameter]
    precision: Precision

    @property
    def is_main(self) -> bool: ...

    def add_metrics(self, metrics: Mapping[str, Any]) -> None:
        """Put numbers beside the loss of the present step: they make an entry of the log, if none is due."""

    def log_metrics(self, metrics: Mapping[str, Any]) -> None:
        """Make an entry of the log of the present step and these numbers alone."""

    def evaluated_weights(self) -> AbstractContextManager[None]:
        """Inside, the policy has the weights that are evaluated: the averaged ones, where the recipe averages them."""

    def request_save(self) -> None:
        """Have a checkpoint of the present step written, behind its entry of the log."""

    def request_stop(self, reason: str) -> None:
        """End the training, as complete, before the next step."""


class TrainingCallback:
    """Base of callbacks; each method does nothing unless it is overridden.

    Where several processes train together, all of them call the methods at the same steps, but :meth:`on_log`
    and :meth:`on_saved`, which the main one alone does. Callbacks are called in their order, and closed
    in reverse.

    name: under which a checkpoint keeps :meth:`state`; empty: it keeps none.
    """

    name: str = ""

    def on_start(self, run: TrainingRun) -> None:
        """Before the first step, or the first after a checkpoint."""

    def on_step(self, run: TrainingRun) -> None:
        """After each step of the optimizer; ``run.step`` counts it already."""

    def on_log(self, run: TrainingRun, entry: dict[str, Any]) -> None:
        """An entry of the log: ``step``, ``loss``, its terms, metrics that were added; numbers by name."""

    def on_save(self, run: TrainingRun, folder: Path) -> None:
        """A checkpoint is being written: the main process adds files to its ``folder``, which appears whole, or not at
        all."""

    def on_saved(self, run: TrainingRun, checkpoint: Path) -> None:
        """A checkpoint was written; it lies in ``checkpoint`` until newer ones replace it."""

    def on_stop(self, run: TrainingRun) -> None:
        """Behind the last step, when the last checkpoint was written."""

    def close(self) -> None:
        """Give back what :meth:`on_start` took, such as files and processes, also where an error ends the training."""

    def state(self) -> dict[str, Any]:
        """What :meth:`load_state` needs to continue exactly, as JSON can hold it."""
        return {}

    def load_state(self, run: TrainingRun, state: Mapping[str, Any], checkpoint: Path) -> None:
        """Continue from ``checkpoint``, which kept this ``state``; {} where it kept none."""
