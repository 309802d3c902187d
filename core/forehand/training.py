"""The training loop: any policy with a loss, on windows of any dataset; stopped and resumed exactly. Needs torch."""

from __future__ import annotations

import contextlib
import itertools
import json
import logging
import math
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from filelock import FileLock, Timeout
from omegaconf import OmegaConf
from safetensors.torch import save_file
from torch import Tensor

from forehand.checkpoint import (
    checkpoints,
    latest_checkpoint,
    load_weights,
    read_checkpoint,
    read_provenance,
    read_tensors,
    remove_checkpoint,
    remove_unfinished,
    save_policy,
    step_folder,
)
from forehand.errors import CheckpointError, ConfigurationError, ForehandError
from forehand.recipe import Recipe

log = logging.getLogger(__name__)

LOG = "training.jsonl"
STATE = "training.safetensors"

_LOCK = ".lock"


class TrainingDiverged(ForehandError):
    """The loss or the weights are no longer finite; what was saved before is kept."""


Batches = Callable[[int], Mapping[str, Any]]
Report = Callable[[dict[str, Any]], None]


@runtime_checkable
class Learner(Protocol):
    """What a policy offers so that it can be trained, beside being a :class:`torch.nn.Module`.

    What it draws at random in training comes from torch's default generators, so that training can be resumed exactly.
    """

    @property
    def window(self) -> dict[str, Any]:
        """What a window of data must hold, as options of :class:`forehand.data.windows.WindowDataset`."""

    def load_pretrained(self) -> None:
        """Fill what does not start from scratch; called once, before training."""

    def forward(self, batch: Mapping[str, Any]) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss of a batch of windows, and the terms it is made of, for the log; all scalars."""


def to_device(batch: Any, device: torch.device) -> Any:
    """``batch`` with its tensors on ``device``; everything else as it is."""
    if isinstance(batch, Tensor):
        return batch.to(device, non_blocking=True)
    if isinstance(batch, Mapping):
        return {key: to_device(value, device) for key, value in batch.items()}
    return batch


@contextlib.contextmanager
def run_folder(folder: Path) -> Iterator[Path]:
    """Be the one who trains in ``folder``: others are kept out, and what a killed run left half written is removed."""
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / _LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        message = f"Another process is training in {folder.absolute()}. Wait for it, or choose another output."
        raise ConfigurationError(message) from None
    try:
        remove_unfinished(folder)
        yield folder
    finally:
        lock.release()


class Trainer:
    """Trains ``policy`` on ``batches(number)`` and writes everything it leaves behind into ``folder``.

    policy: a :class:`Learner`. batches: a pure function of the batch's number, counted from 0 over all steps, so that
    a resumed run sees what an uninterrupted one would have; a step takes ``recipe.accumulate`` of them. config,
    statistics, facts: what goes into the checkpoints beside the weights; the fact ``fingerprint`` names the content
    of the dataset.
    """

    def __init__(
        self,
        policy: Any,
        batches: Batches,
        recipe: Recipe,
        folder: Path,
        *,
        config: Mapping[str, Any],
        statistics: Mapping[str, Any],
        facts: Mapping[str, Any],
    ) -> None:
        self.policy, self.batches, self.recipe, self.folder = policy, batches, recipe, folder
        self.config, self.statistics, self.facts = config, statistics, facts
        self.device = next(policy.parameters()).device
        self.parameters = {name: p for name, p in policy.named_parameters() if p.requires_grad}
        self.optimizer = torch.optim.AdamW(
            self.parameters.values(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay, fused=True
        )
        self.step = 0
        self.interrupted = False

    def run(self, report: Report) -> None:
        """Train to the last step, or until SIGINT or SIGTERM: then ``interrupted`` is True and everything is saved.

        ``report`` is called every ``log_every`` steps with what is also written to the log, a line of JSON each.
        Raises :class:`TrainingDiverged`.
        """
        recipe = self.recipe
        self.policy.train()
        self._forget_log_after(self.step)
        started, last = time.monotonic(), self.step
        with _stop_signals() as stop, ThreadPoolExecutor(1) as ahead, (self.folder / LOG).open("a") as lines:
            upcoming = self._coming(ahead, self.step * recipe.accumulate)
            if recipe.compile and self.step < recipe.steps:
                self._compile()
            while self.step < recipe.steps and not stop.is_set():
                loss, terms, norm = self._update(upcoming)
                self.step += 1
                if self.step % recipe.log_every == 0 or self.step == recipe.steps:
                    now = time.monotonic()
                    entry = {
                        "step": self.step,
                        "loss": float(loss),
                        **{name: float(value) for name, value in terms.items()},
                        "gradient_norm": float(norm),
                        "learning_rate": recipe.rate(self.step - 1),
                        "windows_per_second": recipe.windows * (self.step - last) / (now - started),
                    }
                    if not math.isfinite(entry["loss"]):
                        raise self._diverged(f"the loss is {entry['loss']}")
                    started, last = now, self.step
                    lines.write(json.dumps(entry) + "\n")
                    lines.flush()
                    report(entry)
                if self.step % recipe.save_every == 0:
                    self.save()
            # Within reach of the signals' handlers still: one that comes now must not break this off.
            self.interrupted = self.step < recipe.steps
            self.save()

    def _coming(self, ahead: ThreadPoolExecutor, first: int) -> Iterator[Mapping[str, Any]]:
        """The batches from number ``first`` on, each prepared while the one before it is computed."""
        jobs = (ahead.submit(self.batches, n) for n in range(first, self.recipe.steps * self.recipe.accumulate))
        upcoming = next(jobs, None)
        while upcoming is not None:
            batch = to_device(upcoming.result(), self.device)
            upcoming = next(jobs, None)
            yield batch

    def _compile(self) -> None:
        """Compile the policy and try it on the next batch, without a trace; where it fails, go on without."""
        batch = to_device(self.batches(self.step * self.recipe.accumulate), self.device)
        try:
            with torch.random.fork_rng([self.device] if self.device.type == "cuda" else []):
                self.policy.compile()
                self._loss(batch)[0].backward()
        except Exception as error:  # compilers fail in many ways, and none of them is a reason not to train
            for module in self.policy.modules():
                module._compiled_call_impl = None
            reason = str(error).strip().splitlines()[0] if str(error).strip() else ""
            log.warning(
                "recipe.compile: torch.compile failed with %s: %s. Training goes on without it, slower but the same. "
                "On a CPU it needs a C++ compiler (g++), on a GPU Triton; recipe.compile=false leaves it out.",
                type(error).__name__,
                reason,
            )
        self.optimizer.zero_grad(set_to_none=True)

    def _update(self, batches: Iterator[Mapping[str, Any]]) -> tuple[Tensor, dict[str, Tensor], Tensor]:
        for group in self.optimizer.param_groups:
            group["lr"] = self.recipe.rate(self.step)
        self.optimizer.zero_grad(set_to_none=True)
        losses, found = [], []
        for batch in itertools.islice(batches, self.recipe.accumulate):
            loss, terms = self._loss(batch)
            (loss / self.recipe.accumulate).backward()
            losses.append(loss.detach())
            found.append({name: value.detach() for name, value in terms.items()})
        norm = torch.nn.utils.clip_grad_norm_(self.parameters.values(), self.recipe.gradient_norm)
        self.optimizer.step()
        terms = {name: torch.stack([one[name] for one in found]).mean() for name in found[0]}
        return torch.stack(losses).mean(), terms, norm

    def _loss(self, batch: Mapping[str, Any]) -> tuple[Tensor, dict[str, Tensor]]:
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.recipe.precision == "bfloat16"):
            loss, terms = self.policy(batch)
        return loss, terms

    def save(self) -> Path:
        """Write a checkpoint of this step (unless it is there) and let go of older ones."""
        folder = step_folder(self.folder, self.step)
        if not folder.exists():
            # The loss is looked at now and then; weights that it has spoilt since must not replace good ones.
            if not all(p.isfinite().all() for p in self.parameters.values()):
                raise self._diverged("weights are no longer finite")
            save_policy(
                folder,
                self.policy,
                self.config,
                self.statistics,
                {**self.facts, "step": self.step, "recipe": asdict(self.recipe)},
                extra=lambda staging: save_file(self._state(), staging / STATE),
            )
        for stale in checkpoints(self.folder)[: -self.recipe.keep]:
            remove_checkpoint(stale)
        return folder

    def resume(self, checkpoint: Path) -> None:
        """Go on from ``checkpoint`` exactly: weights, optimizer, random state and step.

        Raises :class:`CheckpointError` if it was made with another policy, dataset or recipe, and names what differs.
        """
        config, _ = read_checkpoint(checkpoint)
        if not (checkpoint / STATE).is_file():
            raise CheckpointError(f"{checkpoint} holds no {STATE}: it can be run, but training cannot go on from it.")
        self._require_same(checkpoint, config)
        load_weights(self.policy, checkpoint)
        state = read_tensors(checkpoint / STATE)
        for key, value in state.items():
            if key.startswith("optimizer/"):
                _, kind, name = key.split("/", 2)
                if name not in self.parameters:
                    raise CheckpointError(f"{checkpoint} holds optimizer state of {name!r}, which is not trained here.")
                self.optimizer.state[self.parameters[name]][kind] = value.to(self.device)
        self.step = int(state["step"])
        torch.set_rng_state(state["rng"])
        if "rng_cuda" in state and self.device.type == "cuda":
            torch.cuda.set_rng_state(state["rng_cuda"], self.device)

    def _state(self) -> dict[str, Tensor]:
        state = {"rng": torch.get_rng_state(), "step": torch.tensor(self.step)}
        if self.device.type == "cuda":
            state["rng_cuda"] = torch.cuda.get_rng_state(self.device)
        for name, parameter in self.parameters.items():
            for kind, value in self.optimizer.state.get(parameter, {}).items():
                state[f"optimizer/{kind}/{name}"] = value.detach().cpu().contiguous()
        return state

    def _require_same(self, checkpoint: Path, config: Mapping[str, Any]) -> None:
        then = read_provenance(checkpoint)
        recipe = {name: value for name, value in then.get("recipe", {}).items() if name in self.recipe.decisive}
        before = {"policy": config, "recipe": recipe, "dataset fingerprint": then.get("fingerprint")}
        now = {
            "policy": OmegaConf.to_container(OmegaConf.create(dict(self.config)), resolve=True),
            "recipe": self.recipe.decisive,
            "dataset fingerprint": self.facts.get("fingerprint"),
        }
        if differing := _differences(before, now):
            raise CheckpointError(
                f"Training cannot go on from {checkpoint}, which was made otherwise:\n"
                + "\n".join(f"  - {line}" for line in differing)
                + "\nRepeat the command it was made with, or train anew in another output."
            )

    def _diverged(self, what: str) -> TrainingDiverged:
        kept = latest_checkpoint(self.folder)
        return TrainingDiverged(
            f"Training diverged: {what} at step {self.step}. "
            + (f"{kept} is kept. " if kept else "No checkpoint had been written. ")
            + f"Train anew with a lower recipe.learning_rate (now {self.recipe.learning_rate:g}), or look for broken "
            f"values in the dataset."
        )

    def _forget_log_after(self, step: int) -> None:
        """Cut what a run that got further, and was killed there, wrote after its last checkpoint."""
        path = self.folder / LOG
        if not path.exists():
            return
        kept = 0
        for line in path.read_bytes().splitlines(keepends=True):
            try:
                if json.loads(line)["step"] > step:
                    break
            except ValueError:  # a line that was never finished
                break
            kept += len(line)
        os.truncate(path, kept)


def _differences(before: Any, now: Any, where: str = "") -> list[str]:
    """Lines that say where two nested mappings differ, and how."""
    if isinstance(before, Mapping) and isinstance(now, Mapping):
        keys = [*before, *(key for key in now if key not in before)]
        return [
            line
            for key in keys
            for line in _differences(before.get(key), now.get(key), f"{where}.{key}" if where else str(key))
        ]
    return [] if before == now else [f"{where}: was {before!r}, is {now!r}"]


@contextlib.contextmanager
def _stop_signals() -> Iterator[threading.Event]:
    """An event that SIGINT and SIGTERM set instead of ending the process; a second SIGINT ends it."""
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return

    def request(number: int, frame: Any) -> None:
        if stop.is_set() and number == signal.SIGINT:
            raise KeyboardInterrupt
        stop.set()

    before = {number: signal.signal(number, request) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
