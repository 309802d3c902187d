"""Training loop for any policy with a loss, on windows of any dataset; resumes exactly. Needs torch."""

from __future__ import annotations

import contextlib
import itertools
import json
import signal
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from forehand.errors import CheckpointError, ConfigurationError, ForehandError
from forehand.learning.callbacks.callback import TrainingCallback
from forehand.learning.checkpoint import (
    checkpoints,
    latest_checkpoint,
    load_weights,
    read_checkpoint,
    remove_checkpoint,
    save_policy,
    step_folder,
)
from forehand.learning.distributed.processes import Processes
from forehand.learning.distributed.sharding import gathered, part, whole
from forehand.learning.distributed.strategies import make_strategy
from forehand.learning.optimization.compilation import compile_policy
from forehand.learning.optimization.freed_memory import keep_freed_memory
from forehand.learning.optimization.optimizers import make_optimizer, set_rate
from forehand.learning.optimization.precision import Precision
from forehand.learning.optimization.recomputation import checkpoint_activations
from forehand.learning.optimization.weight_average import WeightAverage
from forehand.learning.parameter_groups import parameter_groups
from forehand.learning.recipe import Recipe
from forehand.learning.same_run import extensions, require_same_run
from forehand.learning.timing import CALLBACKS, COMMUNICATION, DATA, StepTimes, peak_memory
from forehand.learning.trainable import BatchFn, TrainablePolicy, to_device
from forehand.learning.training_log import LOG, JsonLinesLog
from forehand.learning.training_state import (
    STEP,
    TRAINING_STATE,
    fill_optimizer,
    optimizer_state_for,
    pack_optimizer,
    read_training_state,
    unpack_optimizer,
)
from forehand.utils.reading import read_json
from forehand.utils.signals import stop_event

__all__ = ["LOG", "TRAINING_STATE", "BatchFn", "LogCallback", "TrainablePolicy", "Trainer", "TrainingDiverged"]

CALLBACKS_STATE = "callbacks.json"


class TrainingDiverged(ForehandError):
    """The loss or the weights are no longer finite; what was saved before is kept."""


LogCallback = Callable[[dict[str, Any]], None]


class Trainer:
    """Trains ``policy`` on ``batches(number)`` and writes everything it leaves behind into ``folder``.

    policy: a :class:`TrainablePolicy`. batches: a pure function of the batch's number, counted from 0 over all steps, so
    that a resumed run has the batches of an uninterrupted one; a step takes ``recipe.gradient_accumulation_steps`` of
    them, the last of an epoch those that are left (:meth:`.Recipe.first_batch`). processes: those that train together,
    of which each gets its share of every batch (:meth:`.Processes.share`); None: this one alone. strategy,
    shard_modules: how they do (:func:`.make_strategy`). config, statistics, facts: what goes
    into the checkpoints beside the weights; the fact ``fingerprint`` names the content of the dataset. embodiments:
    contract and statistics of each, where the policy has several. callbacks: what happens beside the steps; the log in
    the folder is always kept.
    """

    def __init__(
        self,
        policy: Any,
        batches: BatchFn,
        recipe: Recipe,
        folder: Path,
        *,
        config: Mapping[str, Any],
        statistics: Mapping[str, Any],
        facts: Mapping[str, Any],
        embodiments: Mapping[str, Mapping[str, Any]] | None = None,
        callbacks: Sequence[TrainingCallback] = (),
        processes: Processes | None = None,
        strategy: str = "ddp",
        shard_modules: Sequence[str] | None = None,
    ) -> None:
        self.embodiments = embodiments
        self.policy, self.batches, self.recipe, self.folder = policy, batches, recipe, folder
        resolve = getattr(policy, "resolved_config", dict)
        self.config, self.statistics, self.facts = resolve(config), statistics, facts
        self.device = next(policy.parameters()).device
        if self.device.type == "cpu":
            keep_freed_memory()
        self.processes = processes or Processes()
        groups = parameter_groups(policy, recipe)
        for frozen in (group for group in groups if group.frozen):
            for parameter in frozen.parameters.values():
                parameter.requires_grad_(False)
        checkpoint_activations(policy, recipe.activation_checkpointing or ())
        self.strategy = make_strategy(strategy, policy, self.processes, recipe, shard_modules)
        present = dict(policy.named_parameters())  # which may be sharded now
        self.groups = [replace(g, parameters={name: present[name] for name in g.parameters}) for g in groups]
        self.parameters: Mapping[str, nn.Parameter] = {
            name: p for name, p in policy.named_parameters() if p.requires_grad
        }
        self.trained_groups = [group for group in self.groups if not group.frozen]
        self.optimizer = make_optimizer(policy, self.trained_groups, recipe)
        self.precision = Precision(recipe.precision, self.device)
        self.average = WeightAverage(recipe.averaging) if recipe.averaging else None
        averages = [self.average] if self.average else []
        self.callbacks: list[TrainingCallback] = [JsonLinesLog(), *averages, *callbacks]
        self.step = self._logged = 0
        self.interrupted = False
        self.stop_reason = ""
        self.times = StepTimes()
        self._metrics: dict[str, Any] = {}
        self._report: LogCallback | None = None
        self._save_requested = False

    @property
    def is_main(self) -> bool:
        """Whether this process is the one that writes files and logs."""
        return self.processes.is_main

    def add_metrics(self, metrics: Mapping[str, Any]) -> None:
        """Put numbers beside the loss of the present step: they make an entry of the log, if none is due."""
        self._metrics.update(metrics)

    def log_metrics(self, metrics: Mapping[str, Any]) -> None:
        """Make an entry of the log of the present step and these numbers alone."""
        self._emit({"step": self.step, **metrics})

    def request_stop(self, reason: str) -> None:
        """End the training, as complete, before the next step; ``stop_reason`` says why."""
        self.stop_reason = self.stop_reason or reason

    def request_save(self) -> None:
        """Have a checkpoint of the present step written, behind its entry of the log."""
        self._save_requested = True

    def evaluated_weights(self) -> contextlib.AbstractContextManager[None]:
        """Inside, the policy has the weights that are evaluated: the averaged ones, where the recipe averages them."""
        return self.average.applied(self) if self.average else contextlib.nullcontext()

    def run(self, report: LogCallback | None = None) -> None:
        """Train to the last step, or until SIGINT or SIGTERM: then ``interrupted`` is True and everything is saved.

        ``report`` is called every ``log_every`` steps with what is also written to the log, a line of JSON each.
        Raises :class:`TrainingDiverged`.
        """
        recipe, self._report = self.recipe, report
        self.policy.train()
        with (
            stop_event(forced_by=[signal.SIGINT]) as stop,
            ThreadPoolExecutor(1) as ahead,
            contextlib.ExitStack() as ends,
        ):
            for callback in self.callbacks:
                ends.callback(callback.close)
                callback.on_start(self)
            self.times, self._logged = StepTimes(), self.step
            upcoming = self._prefetch(ahead, recipe.first_batch(self.step))
            if recipe.compile and self.step < recipe.steps:
                self._compile()
            stopped, ended = self._agreed(stop.is_set(), bool(self.stop_reason))
            while self.step < recipe.steps and not (stopped or ended):
                found = self._update(upcoming)
                self.step += 1
                with self.times.part(CALLBACKS):
                    for callback in self.callbacks:
                        callback.on_step(self)
                (added,) = self._agreed(bool(self._metrics))
                if self.step % recipe.log_every == 0 or self.step == recipe.steps or added:
                    self._log(*found)
                requests = self._agreed(stop.is_set(), bool(self.stop_reason), self._save_requested)
                stopped, ended, save_requested = requests
                if self.step % recipe.save_every == 0 or save_requested:
                    with self.times.part(CALLBACKS):
                        self.save()
            # Within reach of the signals' handlers still: one that comes now must not break this off.
            self.interrupted = self.step < recipe.steps and not ended
            self.save()
            for callback in self.callbacks:
                callback.on_stop(self)

    def _agreed(self, *requests: bool) -> list[bool]:
        """Which of the requests one of the processes has."""
        with self.times.part(COMMUNICATION) if self.processes.count > 1 else contextlib.nullcontext():
            return self.processes.any(requests)

    def _log(self, loss: Tensor, terms: Mapping[str, Tensor], norm: Tensor) -> None:
        """Make the entry of the log of the present step."""
        recipe, steps = self.recipe, self.step - self._logged
        losses = {"loss": float(loss), **{name: float(value) for name, value in terms.items()}}  # waits for the device
        losses = self.processes.means(losses)
        total, parts = self.times.read()
        windows = recipe.batch_size * (recipe.first_batch(self.step) - recipe.first_batch(self._logged))
        entry = {
            "step": self.step,
            **losses,
            "gradient_norm": float(norm),
            "learning_rate": recipe.rate(self.step - 1),
            "windows_per_second": windows / total,
            **{f"time/{name}": seconds / steps for name, seconds in parts.items()},
            "memory/peak": peak_memory(self.device),
            **self._metrics,
        }
        self._logged = self.step
        self._metrics = {}
        self._emit(entry)

    def _emit(self, entry: dict[str, Any]) -> None:
        if self.is_main:
            for callback in self.callbacks:
                callback.on_log(self, entry)
            if self._report is not None:
                self._report(entry)

    def _prefetch(self, ahead: ThreadPoolExecutor, first: int) -> Iterator[Mapping[str, Any]]:
        """The batches from number ``first`` on, each prepared while the one before it is computed."""
        end = self.recipe.first_batch(self.recipe.steps)
        jobs = (ahead.submit(self.batches, number) for number in range(first, end))
        upcoming = next(jobs, None)
        while upcoming is not None:
            with self.times.part(DATA):
                batch = to_device(upcoming.result(), self.device)
            upcoming = next(jobs, None)
            yield batch

    def _compile(self) -> None:
        """Compile the policy, where that is possible."""
        batch = to_device(self.batches(self.recipe.first_batch(self.step)), self.device)
        compile_policy(self.policy, self.device, lambda: self._loss(batch)[0])
        self.optimizer.zero_grad(set_to_none=True)

    def _update(self, batches: Iterator[Mapping[str, Any]]) -> tuple[Tensor, dict[str, Tensor], Tensor]:
        set_rate(self.optimizer, self.recipe, self.step)
        self.optimizer.zero_grad(set_to_none=True)
        losses, found = [], []
        count = self.recipe.first_batch(self.step + 1) - self.recipe.first_batch(self.step)
        clip_every = self.recipe.clip_every_batches or count
        for number, batch in enumerate(itertools.islice(batches, count), start=1):
            last = number % clip_every == 0 or number == count
            self.processes.seed(self.recipe.seed, self.recipe.first_batch(self.step) + number - 1)
            with self.strategy.accumulating(more=not last):
                loss, terms = self._loss(batch)
                self._require_finite(loss, terms)
                self.precision.backward(loss / self.recipe.gradient_accumulation_steps)
            losses.append(loss.detach())
            found.append({name: value.detach() for name, value in terms.items()})
            if last:
                norm = self._clip()
        self.precision.step(self.optimizer)
        named = dict.fromkeys(name for one in found for name in one)  # a batch of one embodiment may lack some
        terms = {name: torch.stack([one[name] for one in found if name in one]).mean() for name in named}
        return torch.stack(losses).mean(), terms, norm

    def _clip(self) -> Tensor:
        """Scale the gradient down to ``max_grad_norm``; returns its norm before."""
        self.precision.unscale(self.optimizer)
        norm = whole(torch.nn.utils.clip_grad_norm_(self.parameters.values(), self.recipe.max_grad_norm))
        if not norm.isfinite() and not self.precision.recovers:
            raise self._diverged(f"the norm of the gradient is {norm.item()}", self.step + 1)
        return norm

    def _require_finite(self, loss: Tensor, terms: Mapping[str, Tensor]) -> None:
        """Keep a loss that is not finite from reaching the weights, or kernels that index by what depends on it."""
        if not loss.isfinite():
            terms = {name: value for name, value in terms.items() if not value.isfinite()}
            by_term = ", ".join(f"its term {name} is {value.item()}" for name, value in terms.items())
            raise self._diverged(f"the loss is {loss.item()}" + (f" ({by_term})" if by_term else ""), self.step + 1)

    def _loss(self, batch: Mapping[str, Any]) -> tuple[Tensor, dict[str, Tensor]]:
        with self.precision.autocast():
            loss, terms = self.strategy.loss(batch)
        if not loss.requires_grad:
            raise ConfigurationError(
                f"The loss depends on none of the parameters that are trained ({_beginnings(self.parameters)}): "
                f"policy.detach cuts them off, or all that reads them is frozen. Detach less, or train more "
                f"(recipe.parameter_groups, options of parts)."
            )
        return loss, terms

    def save(self) -> Path:
        """Write a checkpoint of this step (unless it is there) and let go of older ones."""
        self._save_requested = False
        folder = step_folder(self.folder, self.step)
        if not self.processes.told(folder.exists()):
            # The loss is looked at now and then; weights that it has spoilt since must not replace good ones.
            if not all(part(p).isfinite().all() for p in self.parameters.values()):
                raise self._diverged("weights are no longer finite", self.step)
            weights = gathered(self.policy.state_dict(), keep=self.is_main)
            state = self._state()
            if self.is_main:
                self._write(folder, weights, state)
            else:
                for callback in self.callbacks:
                    callback.on_save(self, folder)
        if self.is_main:
            for stale in checkpoints(self.folder)[: -self.recipe.keep_checkpoints]:
                remove_checkpoint(stale)
        self.processes.wait()
        return folder

    def _write(self, folder: Path, weights: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> None:
        """Write a checkpoint of these weights, whole, and the state that :meth:`resume` reads beside them."""
        facts = {
            **self.facts,
            "step": self.step,
            "recipe": asdict(self.recipe),
            "parameter_groups": [group.facts for group in self.groups],
        }
        if self.processes.count > 1:
            facts["processes"] = self.processes.count

        def extra(staging: Path) -> None:
            save_file(dict(state), staging / TRAINING_STATE)
            for callback in self.callbacks:
                callback.on_save(self, staging)
            if kept := {callback.name: callback.state() for callback in self.callbacks if callback.name}:
                (staging / CALLBACKS_STATE).write_text(json.dumps(kept), encoding="utf-8")

        about = (self.policy, self.config, self.statistics, facts)
        save_policy(folder, *about, extra=extra, embodiments=self.embodiments, weights=weights)
        for callback in self.callbacks:
            callback.on_saved(self, folder)

    def resume(self, checkpoint: Path, *, extend: bool = False) -> None:
        """Continue from ``checkpoint`` exactly: weights, optimizer, random state and step.

        extend: steps and schedule may be others than those it was made with, to train longer; the learning rate is then
        that of the present recipe at that step. Raises :class:`CheckpointError` if it was made with another policy,
        dataset or recipe, and names what differs.
        """
        config, _ = read_checkpoint(checkpoint)
        state = read_training_state(checkpoint)
        require_same_run(checkpoint, config, config=self.config, recipe=self.recipe, facts=self.facts, extend=extend)
        load_weights(self.policy, checkpoint)
        moments = unpack_optimizer(state)
        if unknown := [name for name in moments if name not in self.parameters]:
            raise CheckpointError(f"{checkpoint} holds optimizer state of {unknown[0]!r}, which is not trained here.")
        fill_optimizer(self.optimizer, self.parameters, moments)
        self.precision.load_state(state)
        self.step = int(state[STEP])
        self.facts = {**self.facts, **extensions(checkpoint, self.step, self.recipe)}
        torch.set_rng_state(state["rng"])
        if "rng_cuda" in state and self.device.type == "cuda":
            torch.cuda.set_rng_state(state["rng_cuda"], self.device)
        kept = read_json(checkpoint / CALLBACKS_STATE) if (checkpoint / CALLBACKS_STATE).exists() else {}
        for callback in self.callbacks:
            callback.load_state(self, kept.get(callback.name, {}), checkpoint)

    def init_optimizer(self, checkpoint: Path, reinitialize: Sequence[str] = ()) -> dict[str, Any]:
        """Begin at the step of ``checkpoint`` with its optimizer state: moments, step counts, place in the schedule.

        Unlike :meth:`resume`, policy, dataset and recipe may differ; weights are loaded beforehand, and random state is
        that of the seed. Returns facts for the provenance: ``step`` and ``optimizer_state``, the number of parameters
        with state. Raises :class:`CheckpointError` naming what does not fit.
        """
        step, state = optimizer_state_for(checkpoint, self.optimizer, self.parameters, reinitialize)
        if step >= self.recipe.steps:
            raise ConfigurationError(
                f"init_optimizer: {checkpoint} is at step {step}, and the recipe ends at {self.recipe.steps}. Train "
                f"longer (recipe.steps, recipe.epochs), or take the weights alone, init_optimizer=false."
            )
        fill_optimizer(self.optimizer, self.parameters, state)
        self.step = step
        return {"step": step, "optimizer_state": len(state)}

    def _state(self) -> dict[str, Tensor]:
        state = {"rng": torch.get_rng_state(), STEP: torch.tensor(self.step), **self.precision.state()}
        if self.device.type == "cuda":
            state["rng_cuda"] = torch.cuda.get_rng_state(self.device)
        kept = {name: self.optimizer.state.get(p, {}) for name, p in self.parameters.items()}
        return state | pack_optimizer(kept, keep=self.is_main)

    def _diverged(self, what: str, step: int) -> TrainingDiverged:
        kept = latest_checkpoint(self.folder)
        return TrainingDiverged(
            f"Training diverged: {what} at step {step}. "
            + (f"{kept} is kept. " if kept else "No checkpoint had been written. ")
            + f"Train anew with a lower recipe.learning_rate (now {self.recipe.learning_rate:g}), or look for broken "
            f"values in the dataset."
        )


def _beginnings(names: Iterable[str]) -> str:
    return ", ".join(sorted({name.partition(".")[0] for name in names}))
