"""Exponential moving average of the trained weights. Needs torch."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.optim.swa_utils import get_ema_multi_avg_fn

from forehand.errors import CheckpointError
from forehand.learning.callbacks.callback import TrainingCallback, TrainingRun
from forehand.learning.distributed.sharding import gathered, like
from forehand.learning.optimization.ema_settings import EMASettings
from forehand.learning.weights import AVERAGED_WEIGHTS, read_tensors, state_dict_mismatch


class WeightAverage(TrainingCallback):
    """Exponential moving average (EMA) of the parameters that are trained, in float32, after each step.

    It is kept beside the raw weights of every checkpoint (:data:`~forehand.learning.weights.AVERAGED_WEIGHTS`). What is
    not trained, and buffers such as those of batch normalization, are the raw ones.
    """

    name = "ema"

    def __init__(self, settings: EMASettings) -> None:
        self.settings = settings
        self._averages: dict[str, Tensor] = {}

    def on_start(self, run: TrainingRun) -> None:
        """Begin with the weights as they are, unless a checkpoint had an average."""
        if not self._averages:
            self._averages = {name: p.detach().float().clone() for name, p in run.parameters.items()}

    @torch.no_grad()
    def on_step(self, run: TrainingRun) -> None:
        """Move the average towards the weights."""
        decay = self.settings.decay_at(run.step)
        current = [p.detach().float() for p in run.parameters.values()]
        get_ema_multi_avg_fn(decay)(list(self._averages.values()), current, run.step)

    def on_save(self, run: TrainingRun, folder: Path) -> None:
        """Write the averages."""
        averages = {name: average.to(run.parameters[name].dtype) for name, average in self._averages.items()}
        tensors = gathered(averages, keep=run.is_main)
        if run.is_main:
            save_file(tensors, folder / AVERAGED_WEIGHTS)

    def load_state(self, run: TrainingRun, state: Mapping[str, Any], checkpoint: Path) -> None:
        """Continue with the averages in ``checkpoint``."""
        if not (checkpoint / AVERAGED_WEIGHTS).exists():
            raise CheckpointError(f"{checkpoint} holds no {AVERAGED_WEIGHTS}, from which recipe.ema would continue.")
        tensors = read_tensors(checkpoint / AVERAGED_WEIGHTS)
        if listing := state_dict_mismatch(tensors, run.parameters):
            raise CheckpointError(f"{checkpoint / AVERAGED_WEIGHTS} does not fit what is trained here:\n{listing}")
        self._averages = {name: like(tensors[name].float(), p) for name, p in run.parameters.items()}

    @contextlib.contextmanager
    def applied(self, run: TrainingRun) -> Iterator[None]:
        """Inside, the policy has the averaged weights."""
        raw = {name: p.detach().clone() for name, p in run.parameters.items()}
        try:
            _copy(self._averages, run)
            yield
        finally:
            _copy(raw, run)


@torch.no_grad()
def _copy(tensors: Mapping[str, Tensor], run: TrainingRun) -> None:
    for name, parameter in run.parameters.items():
        parameter.copy_(tensors[name])
