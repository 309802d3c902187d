"""Early stopping: a training ends where a metric no longer improves."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from forehand.errors import ConfigurationError
from forehand.learning.callbacks.callback import TrainingCallback, TrainingRun

MODES = ("min", "max")


class EarlyStop(TrainingCallback):
    """Ends the training where ``metric`` has not improved ``patience`` times in a row.

    metric: its name in the log, as ``validation/loss``. mode: ``min`` or ``max``, what is better. min_delta: by less than
    that it has not improved. Raises :class:`ConfigurationError` for other options.
    """

    name = "early_stop"

    def __init__(self, metric: str, patience: int = 5, mode: str = "min", min_delta: float = 0.0) -> None:
        if mode not in MODES:
            raise ConfigurationError(f"early_stop: mode is min or max, not {mode!r}.")
        if isinstance(patience, bool) or not isinstance(patience, int) or patience < 1:
            raise ConfigurationError(f"early_stop: patience is a whole number of at least 1, not {patience!r}.")
        if not isinstance(min_delta, int | float) or not 0 <= min_delta < math.inf:
            raise ConfigurationError(f"early_stop: min_delta is 0 or a positive number, not {min_delta!r}.")
        self.metric, self.patience, self.mode, self.min_delta = metric, patience, mode, min_delta
        self._best: float | None = None
        self._waited = 0

    def on_start(self, run: TrainingRun) -> None:
        """A run that was ended here is not continued, unless with more patience."""
        self._require_patience(run)

    def on_log(self, run: TrainingRun, entry: dict[str, Any]) -> None:
        """Look at the metric, where the entry has it."""
        if self.metric not in entry:
            return
        value = float(entry[self.metric])
        better = self._best is None or (self._best - value if self.mode == "min" else value - self._best) > self.min_delta
        self._best, self._waited = (value, 0) if better else (self._best, self._waited + 1)
        self._require_patience(run)

    def _require_patience(self, run: TrainingRun) -> None:
        if self._waited >= self.patience:
            run.request_stop(f"{self.metric} has not improved on {self._best:.6g} for {self._waited} times")

    def state(self) -> dict[str, Any]:
        """The best value, and for how many times it has not been improved on."""
        return {"metric": self.metric, "best": self._best, "waited": self._waited}

    def load_state(self, run: TrainingRun, state: Mapping[str, Any], checkpoint: Path) -> None:
        """Continue counting, of the same metric."""
        if state.get("metric") == self.metric:
            self._best, self._waited = state["best"], int(state["waited"])
