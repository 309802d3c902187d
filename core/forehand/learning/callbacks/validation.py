"""Validation: loss and action error on data that is not trained on. Needs torch."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from forehand.errors import ConfigurationError
from forehand.learning.callbacks.callback import TrainingCallback, TrainingRun
from forehand.learning.trainable import to_device

PREFIX = "validation/"

Measures = Mapping[str, Callable[[Any], dict[str, float]]]
"""Embodiment, or "" → what gives numbers of a policy by field."""


class Windows(Protocol):
    """Windows by number, as :class:`~forehand.data.windows.WindowDataset` has them."""

    def __len__(self) -> int: ...

    def batch(self, indices: NDArray[np.int64], *, step: int = 0, seed: int = 0) -> Mapping[str, Any]:
        """The windows of those numbers as a batch."""


class Validation(TrainingCallback):
    """Metrics ``validation/loss``, those of its terms, and ``validation/<measure>/<field>``, every so many steps.

    The policy is in evaluation mode, with the weights that would be served: averaged ones, where the recipe has ``ema``.
    What it draws at random is the same each time, and does not change what training draws.

    every: steps from one to the next; the last step counts, too. windows: of the validation data. count: how many of
    them, evenly spread; None: all. batch_size: windows in a batch. action_error: embodiment, or "" → what gives the error
    of a policy by field (:class:`~forehand.learning.action_error.ActionError`, or of inverse dynamics
    :class:`~forehand.evaluation.open_loop.inverse.InverseError`, which adds ``<field>/r_squared``). latent_actions:
    likewise (:class:`~forehand.evaluation.open_loop.latent_actions.LatentActionProbe`).
    """

    def __init__(
        self,
        every: int,
        windows: Windows,
        *,
        count: int | None = 512,
        batch_size: int = 64,
        action_error: Measures | None = None,
        latent_actions: Measures | None = None,
    ) -> None:
        if not len(windows):
            raise ConfigurationError("validation: its data has no windows. Choose a larger split, or leave it out.")
        self.every, self._windows = every, windows
        self._measures = {"action_error": action_error or {}, "latent_actions": latent_actions or {}}
        chosen = np.linspace(0, len(windows) - 1, min(count or len(windows), len(windows))).round().astype(np.int64)
        self._batches = np.split(chosen, range(batch_size, len(chosen), batch_size))

    def on_step(self, run: TrainingRun) -> None:
        """Validate, where it is time."""
        if run.step % self.every == 0 or run.step == run.recipe.steps:
            run.add_metrics(self.measure(run))

    def measure(self, run: TrainingRun) -> dict[str, float]:
        """The metrics of the run's policy as it is."""
        with run.evaluated_weights(), _evaluating(run):
            metrics = {PREFIX + name: value for name, value in self._losses(run).items()}
            for name, measures in self._measures.items():
                for embodiment, measure in measures.items():
                    policy = run.policy.embodiments[embodiment] if embodiment else run.policy
                    prefix = f"{PREFIX}{name}/" + (f"{embodiment}/" if embodiment else "")
                    metrics |= {prefix + field: value for field, value in measure(policy).items()}
        return metrics

    def _losses(self, run: TrainingRun) -> dict[str, float]:
        """Loss and terms, as means over the windows."""
        sums: dict[str, float] = {}
        counts: dict[str, int] = {}
        for indices in self._batches:
            with run.precision.autocast():
                loss, terms = run.policy(to_device(self._windows.batch(indices), run.device))
            for name, value in {"loss": loss, **terms}.items():
                sums[name] = sums.get(name, 0.0) + float(value) * len(indices)
                counts[name] = counts.get(name, 0) + len(indices)
        return {name: sums[name] / counts[name] for name in sums}


@contextlib.contextmanager
def _evaluating(run: TrainingRun) -> Iterator[None]:
    """Evaluation mode without gradients, and random numbers of their own."""
    devices = [run.device] if run.device.type == "cuda" else []
    run.policy.eval()
    try:
        with torch.random.fork_rng(devices), torch.no_grad():
            torch.manual_seed(run.recipe.seed)
            yield
    finally:
        run.policy.train()
